// Batch: named tensors of the same examples.
//
//   data::Batch batch = reviews.batch(std::vector<int64_t>{3, 1, 4});
//   Tensor loss = cross_entropy(net(batch["tokens"]), batch["label"]);
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble::data {

/// What a dataset gives of some examples: a tensor for each of its fields, in the dataset's order, whose first
/// dimension are the examples. What a model takes comes first, what it is to learn after it.
///
/// Of two fields, `auto& [images, labels] = batch;` are both.
class THIMBLE_API Batch {
 public:
  using Fields = std::vector<std::pair<std::string, Tensor>>;

  Batch() = default;
  /// Throws ValueError for no field or two of one name, ShapeError unless all have as many examples.
  explicit Batch(Fields fields);

  /// Examples.
  int64_t size() const { return fields_.empty() ? 0 : fields_[0].second.shape(0); }
  const Fields& fields() const& { return fields_; }
  Fields fields() && { return std::move(fields_); }
  bool contains(std::string_view name) const { return find(name) != fields_.size(); }
  /// Throws ValueError that lists the fields if it has none of this name.
  const Tensor& operator[](std::string_view name) const&;
  Tensor operator[](std::string_view name) && { return std::as_const(*this)[name]; }
  /// Replaces a field, or adds one. Throws ShapeError unless it has as many examples as the others.
  void set(const std::string& name, Tensor tensor);

  /// For `auto& [x, y]`. Throws ValueError unless there are two fields.
  template <size_t I>
  const Tensor& get() const& {
    return one_of_two(I);
  }
  template <size_t I>
  Tensor get() && {
    return one_of_two(I);
  }

 private:
  size_t find(std::string_view name) const;
  const Tensor& one_of_two(size_t i) const;
  std::string names() const;

  Fields fields_;
};

}  // namespace thimble::data

/// \cond
template <>
struct std::tuple_size<thimble::data::Batch> : std::integral_constant<size_t, 2> {};
template <size_t I>
struct std::tuple_element<I, thimble::data::Batch> {
  using type = const thimble::Tensor;
};
/// \endcond
