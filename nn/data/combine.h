// Datasets made of others: parts of one, and several as one.
//
//   auto [train, dev] = data::random_split(all, {0.9, 0.1}, seed);
#pragma once

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <type_traits>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/data/dataset.h>

namespace thimble::data {

/// The examples of these numbers, in this order. One that is there several times draws the same at random each time.
class THIMBLE_API Subset : public Dataset {
 public:
  /// Throws ValueError for no dataset, or a number out of range.
  Subset(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices);

  int64_t size() const override { return std::ssize(indices_); }
  const std::vector<int64_t>& indices() const { return indices_; }

 private:
  Batch make(std::span<const int64_t> indices, const Generator& random) const override;

  std::shared_ptr<const Dataset> dataset_;
  std::vector<int64_t> indices_;
};

/// One after the other. All must have the same fields in the same order, of the same shapes and dtypes; a batch throws
/// as concat() where shapes or dtypes differ.
class THIMBLE_API ConcatDataset : public Dataset {
 public:
  /// Makes the first example of each, and throws ValueError for no datasets, null, or fields of other names.
  explicit ConcatDataset(std::vector<std::shared_ptr<const Dataset>> datasets);

  int64_t size() const override { return ends_.back(); }

 private:
  Batch make(std::span<const int64_t> indices, const Generator& random) const override;
  size_t dataset_of(int64_t index) const;
  int64_t begin_of(size_t dataset) const { return dataset == 0 ? 0 : ends_[dataset - 1]; }

  std::vector<std::shared_ptr<const Dataset>> datasets_;
  std::vector<int64_t> ends_;  // of each dataset's numbers
};

/// Parts of so many examples each, drawn without repetition in an order that the seed decides. Throws ValueError unless
/// they add up to the dataset's.
THIMBLE_API std::vector<std::shared_ptr<Subset>> random_split(const std::shared_ptr<const Dataset>& dataset,
                                                              std::span<const int64_t> sizes, uint64_t seed = 0);

/// The same by fractions, which add up to 1: each part is rounded down, and what is left goes to the first ones, one
/// each.
THIMBLE_API std::vector<std::shared_ptr<Subset>> random_split(const std::shared_ptr<const Dataset>& dataset,
                                                              std::span<const double> fractions, uint64_t seed = 0);

/// As many parts as sizes or fractions, to be given names: `auto [train, dev] = data::random_split(all, {0.9, 0.1});`
template <typename Part, size_t N>
requires std::is_arithmetic_v<Part> std::array<std::shared_ptr<Subset>, N> random_split(
    const std::shared_ptr<const Dataset>& dataset, const Part (&parts)[N], uint64_t seed = 0) {
  using Number = std::conditional_t<std::is_integral_v<Part>, int64_t, double>;
  const std::vector<Number> numbers(std::begin(parts), std::end(parts));
  std::vector<std::shared_ptr<Subset>> all = random_split(dataset, std::span<const Number>(numbers), seed);
  std::array<std::shared_ptr<Subset>, N> named;
  std::ranges::move(all, named.begin());
  return named;
}

}  // namespace thimble::data
