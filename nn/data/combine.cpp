#include <algorithm>
#include <cmath>
#include <numeric>

#include <thimble/core/ops/shape.h>
#include <thimble/nn/data/combine.h>

namespace thimble::data {

namespace {

// None if it has no examples to tell them by.
std::vector<std::string> names_of_fields(const Dataset& dataset) {
  std::vector<std::string> names;
  if (dataset.size() == 0) return names;
  const int64_t first = 0;
  const Batch batch = dataset.batch({&first, 1});
  for (const auto& [name, tensor] : batch.fields()) names.push_back(name);
  return names;
}

}  // namespace

Subset::Subset(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices)
    : dataset_(std::move(dataset)), indices_(std::move(indices)) {
  check<ValueError>(dataset_ != nullptr, "subset: of no dataset");
  const int64_t count = dataset_->size();
  for (const int64_t i : indices_)
    check<ValueError>(i >= 0 && i < count, "subset: example ", i, " is out of range, there are ", count);
}

Batch Subset::make(std::span<const int64_t> indices, const Generator& random) const {
  std::vector<int64_t> of_dataset;
  for (const int64_t i : indices) of_dataset.push_back(indices_[static_cast<size_t>(i)]);
  return dataset_->batch(of_dataset, random);
}

ConcatDataset::ConcatDataset(std::vector<std::shared_ptr<const Dataset>> datasets) : datasets_(std::move(datasets)) {
  check<ValueError>(!datasets_.empty(), "concat: of no datasets");
  int64_t end = 0;
  std::vector<std::string> names;
  for (const auto& dataset : datasets_) {
    check<ValueError>(dataset != nullptr, "concat: dataset ", ends_.size(), " is none");
    if (const std::vector<std::string> own = names_of_fields(*dataset); names.empty())
      names = own;
    else
      check<ValueError>(own.empty() || own == names, "concat: the fields of dataset ", ends_.size(),
                        " are not those of the ones before it, or in another order");
    ends_.push_back(end += dataset->size());
  }
}

size_t ConcatDataset::dataset_of(int64_t index) const {
  return static_cast<size_t>(std::ranges::upper_bound(ends_, index) - ends_.begin());
}

// Stretches of examples of one dataset, one after the other. Each dataset draws by itself: the same number in two of
// them is not the same example.
Batch ConcatDataset::make(std::span<const int64_t> indices, const Generator& random) const {
  std::vector<Batch> parts;
  for (size_t i = 0; i < indices.size();) {
    const size_t dataset = dataset_of(indices[i]);
    std::vector<int64_t> own;
    for (; i < indices.size() && dataset_of(indices[i]) == dataset; ++i) own.push_back(indices[i] - begin_of(dataset));
    parts.push_back(datasets_[dataset]->batch(own, random.split(dataset)));
  }
  if (parts.empty()) return datasets_[0]->batch({}, random);
  if (parts.size() == 1) return std::move(parts[0]);
  Batch::Fields fields;
  for (const auto& [name, tensor] : parts[0].fields()) {
    std::vector<Tensor> rows;
    for (const Batch& part : parts) rows.push_back(part[name]);
    const NoGrad guard;
    fields.emplace_back(name, concat(rows, 0));
  }
  return Batch(std::move(fields));
}

std::vector<std::shared_ptr<Subset>> random_split(const std::shared_ptr<const Dataset>& dataset,
                                                  std::span<const int64_t> sizes, uint64_t seed) {
  int64_t sum = 0;
  for (const int64_t size : sizes) {
    check<ValueError>(size >= 0 && size <= dataset->size() - sum, "random_split: a part of ", size, " examples, ",
                      dataset->size() - sum, " are left");
    sum += size;
  }
  check<ValueError>(sum == dataset->size(), "random_split: the parts have ", sum, " examples, there are ",
                    dataset->size());
  const std::vector<int64_t> order = Generator(seed).permutation(dataset->size());
  std::vector<std::shared_ptr<Subset>> parts;
  auto first = order.begin();
  for (const int64_t size : sizes) {
    parts.push_back(std::make_shared<Subset>(dataset, std::vector<int64_t>(first, first + size)));
    first += size;
  }
  return parts;
}

std::vector<std::shared_ptr<Subset>> random_split(const std::shared_ptr<const Dataset>& dataset,
                                                  std::span<const double> fractions, uint64_t seed) {
  double sum = 0;
  for (const double fraction : fractions) {
    check<ValueError>(fraction >= 0 && fraction <= 1, "random_split: ", fraction, " is no fraction");
    sum += fraction;
  }
  check<ValueError>(std::abs(sum - 1) < 1e-9, "random_split: the fractions add up to ", sum, ", expected 1");
  std::vector<int64_t> sizes;
  for (const double fraction : fractions)
    sizes.push_back(static_cast<int64_t>(std::floor(fraction * static_cast<double>(dataset->size()))));
  int64_t left = dataset->size() - std::reduce(sizes.begin(), sizes.end());
  for (size_t i = 0; left > 0; i = (i + 1) % sizes.size(), --left) ++sizes[i];
  return random_split(dataset, std::span<const int64_t>(sizes), seed);
}

}  // namespace thimble::data
