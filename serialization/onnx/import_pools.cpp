// Pools.
#include <algorithm>
#include <numeric>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/padding.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

Attributes pool_attributes(const OnnxNode& node, const Window& window) {
  Attributes attributes{{"kernel_size", window.kernel},
                        {"stride", window.stride},
                        {"padding", window.padding},
                        {"dilation", window.dilation},
                        {"ceil_mode", node.integer("ceil_mode", 0) != 0}};
  const auto middle = window.padding.begin() + static_cast<std::ptrdiff_t>(window.dims());
  const std::vector<int64_t> front(window.padding.begin(), middle);
  if (std::equal(middle, window.padding.end(), front.begin())) attributes.set("padding", front);
  if (window.auto_pad != "none") attributes.set("auto_pad", window.auto_pad);
  return attributes;
}

// Images of one row for lines, which a pool makes lines again.
Value pool_images(Importer& importer, const OnnxNode& node, size_t input) {
  const Value& x = importer.input(node, input);
  const auto dims = static_cast<int>(node.integers("kernel_shape").size());
  if (x.rank < 0 && dims >= 2) return x;  // which will be found out when it runs
  node.require(x.rank == dims + 2, "its input has ", x.rank, " dimensions, expected ", dims + 2);
  return x.rank == 3 ? importer.apply(node, "unsqueeze", {{"axis", int64_t{2}}}, {x}, 4) : x;
}

void set_pooled(Importer& importer, const OnnxNode& node, size_t output, const Value& y) {
  const bool is_line = importer.rank(node, 0) == 3;
  importer.set(node, output, is_line ? importer.apply(node, "squeeze", {{"axis", int64_t{2}}}, {y}, 3) : y);
}

void max_pool(Importer& importer, const OnnxNode& node) {
  const Value images = pool_images(importer, node, 0);
  const Window window = window_of_any_size(node);
  const Attributes attributes = pool_attributes(node, window);
  const bool by_columns = node.integer("storage_order", 0) != 0;  // of the indices
  set_pooled(importer, node, 0, importer.apply(node, window.op("max_pool"), attributes, {images}));
  if (node.output(1).empty()) return;
  Attributes numbered = attributes;
  numbered.set("of_tensor", true);
  node.require(!by_columns || window.dims() == 2, "indices of volumes with 'storage_order' 1 are not covered");
  if (window.dims() == 2) numbered.set("by_columns", by_columns && importer.rank(node, 0) == 4);
  set_pooled(importer, node, 1, importer.apply(node, window.op("max_pool") + "_indices", numbered, {images}));
}

void average_pool(Importer& importer, const OnnxNode& node) {
  const Window window = window_of_any_size(node);
  Attributes attributes = pool_attributes(node, window);
  attributes.set("count_include_pad", node.integer("count_include_pad", 0) != 0);
  set_pooled(importer, node, 0,
             importer.apply(node, window.op("avg_pool"), attributes, {pool_images(importer, node, 0)}));
}

double norm_order(const OnnxNode& node) {
  const auto p = static_cast<double>(node.integer("p", 2));
  node.require(p >= 1, "its p is ", p, ", expected from 1 on");
  return p;
}

void lp_pool(Importer& importer, const OnnxNode& node) {
  const Window window = window_of_any_size(node);
  Attributes attributes = pool_attributes(node, window);
  attributes.set("p", norm_order(node));
  set_pooled(importer, node, 0,
             importer.apply(node, window.op("lp_pool"), attributes, {pool_images(importer, node, 0)}));
}

std::vector<int64_t> spatial_axes(const OnnxNode& node, const Value& x) {
  node.require(x.rank >= 3, "its input has ", x.rank, " dimensions, expected at least 3");
  std::vector<int64_t> axes(static_cast<size_t>(x.rank - 2));
  std::iota(axes.begin(), axes.end(), int64_t{2});
  return axes;
}

Value over_image(Importer& importer, const OnnxNode& node, const char* op, const Value& x) {
  return importer.apply(node, op, {{"axes", spatial_axes(node, x)}, {"keepdim", true}}, {x});
}

void global_average_pool(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  if (x.rank == 4 || x.rank == 5) {
    const char* op = x.rank == 4 ? "adaptive_avg_pool2d" : "adaptive_avg_pool3d";
    const std::vector<int64_t> ones(static_cast<size_t>(x.rank - 2), 1);
    return importer.set(node, 0, importer.apply(node, op, {{"output_size", ones}}, {x}));
  }
  importer.set(node, 0, over_image(importer, node, "mean", x));
}

void global_max_pool(Importer& importer, const OnnxNode& node) {
  importer.set(node, 0, over_image(importer, node, "max", importer.input(node, 0)));
}

void global_lp_pool(Importer& importer, const OnnxNode& node) {
  const double p = norm_order(node);
  const auto power = [&](const Value& x, double exponent) {
    return exponent == 1 ? x : importer.apply(node, "pow", {}, {x, Importer::number(exponent)});
  };
  const Value absolute = importer.apply(node, "abs", {}, {importer.input(node, 0)});
  importer.set(node, 0, power(over_image(importer, node, "sum", power(absolute, p)), 1 / p));
}

// Numbers of the width alone become those of images of one row. The indices are those of an output of the size that the
// pool's attributes say; a larger output_shape has zeros at its ends.
void max_unpool(Importer& importer, const OnnxNode& node) {
  const Window window = window_of(node);
  node.require(window.dims() == 2, "of volumes, which is not covered");
  node.require(!importer.input(node, 0).constant.defined(), "its input is a constant, which is not covered");
  const Value x = pool_images(importer, node, 0), indices = pool_images(importer, node, 1);
  const auto op = [&](const char* name, const Value& a, const Value& b) {
    return importer.apply(node, name, {}, {a, b});
  };
  const auto part = [&](const Value& list, int64_t start, int64_t stop) {
    return slice_of(importer, node, list, 0, start, stop);
  };
  std::vector<int64_t> rest;  // kernel - stride - padding
  for (size_t d = 0; d < 2; ++d)
    rest.push_back(window.kernel[d] - window.stride[d] - window.padding[d] - window.padding[d + 2]);
  const Value sizes = part(sizes_of(importer, node, x), 2, 4);
  const Value wanted = op("add", op("mul", sizes, Importer::integers(window.stride)), Importer::integers(rest));
  Value y =
      importer.apply_with(node, "max_unpool2d", {{"of_tensor", true}}, {x, indices}, {{"output_size", wanted}}, 4);
  if (importer.has_input(node, 2)) {
    const int spatial = importer.rank(node, 0) - 2;
    const Value shape = importer.input(node, 2), zero = Importer::integers({0});
    const Value target = part(shape, -spatial, kEnd);
    const Value own = spatial == 1 ? part(wanted, 1, 2) : wanted;
    const Value missing = op("maximum", op("sub", target, own), Importer::integers(std::vector<int64_t>(spatial, 0)));
    std::vector<Value> padding{zero, part(missing, -1, kEnd)};
    if (spatial == 2) padding.insert(padding.end(), {zero, part(missing, 0, 1)});
    y = importer.apply_with(node, "pad", {{"value", 0.0}}, {y},
                            {{"padding", importer.apply(node, "concat", {{"axis", int64_t{0}}}, padding, 1)}}, 4);
  }
  set_pooled(importer, node, 0, y);
}

}  // namespace

void add_pools(Handlers& handlers) {
  const Handlers own{{"AveragePool", average_pool},
                     {"GlobalAveragePool", global_average_pool},
                     {"GlobalLpPool", global_lp_pool},
                     {"GlobalMaxPool", global_max_pool},
                     {"LpPool", lp_pool},
                     {"MaxPool", max_pool},
                     {"MaxUnpool", max_unpool}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
