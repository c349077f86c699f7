#include <algorithm>

#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

int64_t axis_in(const OnnxNode& node, int64_t axis, int rank) {
  if (rank < 0) return axis;
  node.require(axis >= -rank && axis < rank, "its axis ", axis, " is not one of ", rank, " dimensions");
  return axis < 0 ? axis + rank : axis;
}

std::vector<int64_t> axes_in(const OnnxNode& node, std::vector<int64_t> axes, int rank) {
  for (int64_t& axis : axes) axis = axis_in(node, axis, rank);
  std::vector<int64_t> sorted = axes;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  node.require(twice == sorted.end(), "its axis ", twice == sorted.end() ? 0 : *twice, " is named twice");
  return axes;
}

int64_t sum_of_sizes(const OnnxNode& node, int64_t a, int64_t b) {
  int64_t sum = 0;
  node.require(a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, &sum), "the sizes ", a, " and ", b,
               " do not fit together");
  return sum;
}

int64_t product_of_sizes(const OnnxNode& node, int64_t a, int64_t b) {
  int64_t product = 0;
  node.require(a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, &product), "the sizes ", a, " and ", b,
               " do not fit together");
  return product;
}

int length_of(const OnnxNode& node, const Value& list) {
  node.require(list.constant.defined() || list.length >= 0, "nobody knows how many dimensions its output has");
  const int64_t length = list.constant.defined() ? list.constant.numel() : list.length;
  node.require(length <= Shape::kMaxDims, "a list of ", length, " entries is longer than ", Shape::kMaxDims,
               " dimensions");
  return static_cast<int>(length);
}

Value slice_of(Importer& importer, const OnnxNode& node, const Value& x, int64_t axis, int64_t start, int64_t stop,
               int64_t step) {
  return importer.apply(node, "slice", {{"axis", axis}, {"start", start}, {"stop", stop}, {"step", step}}, {x});
}

Value squeezed(Importer& importer, const OnnxNode& node, const Value& x, int64_t axis) {
  return importer.apply(node, "squeeze", {{"axis", axis}}, {x}, x.rank - 1);
}

Value entry(Importer& importer, const OnnxNode& node, const Value& list, int64_t i) {
  return squeezed(importer, node, slice_of(importer, node, list, 0, i, i + 1), 0);
}

Value number_input(Importer& importer, const OnnxNode& node, size_t i) {
  const Value& x = importer.input(node, i);
  if (x.constant.defined()) {
    node.require(x.constant.numel() == 1, "its input ", i, " has ", x.constant.numel(), " elements, expected one");
    return Importer::known(x.constant.reshape({}));
  }
  node.require(x.rank == 0 || x.rank == 1, "its input ", i, " has ", x.rank, " dimensions, expected a number");
  return x.rank == 0 ? x : squeezed(importer, node, x, 0);
}

Value sizes_of(Importer& importer, const OnnxNode& node, const Value& x) {
  // The number of dimensions is known for sure; the sizes that a file declares of inputs may be others when these come.
  const bool is_shape = x.node && x.node->kind == nn::Node::Kind::op && x.node->target == "shape";
  if (is_shape && x.length >= 0) return Importer::integers({x.length});
  Value sizes = importer.apply(node, "shape", {}, {x}, 1);
  sizes.length = x.rank;
  return sizes;
}

Value of_unknown_rank(Value value) {
  if (!value.constant.defined()) value.rank = -1;
  return value;
}

}  // namespace thimble::onnx
