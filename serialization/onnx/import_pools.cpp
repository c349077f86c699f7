// Pools and resizing.
#include <algorithm>
#include <limits>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/padding.h>

namespace thimble::onnx {

namespace {

bool is_symmetric(const Window& window) {
  return window.padding[0] == window.padding[2] && window.padding[1] == window.padding[3];
}

// Where the padding differs between the sides it becomes a node of its own.
Value padded(Importer& importer, const OnnxNode& node, const Value& x, Window& window, double value) {
  if (is_symmetric(window)) return x;
  const std::vector<int64_t> p = std::exchange(window.padding, {0, 0, 0, 0});
  return importer.apply(node, "pad", {{"padding", std::vector{p[1], p[3], p[0], p[2]}}, {"value", value}}, {x});
}

Attributes pool_attributes(const Window& window, bool ceil_mode) {
  return {{"kernel_size", window.kernel},
          {"stride", window.stride},
          {"padding", std::vector{window.padding[0], window.padding[1]}},
          {"dilation", window.dilation},
          {"ceil_mode", ceil_mode}};
}

void max_pool(Importer& importer, const OnnxNode& node) {
  Window window = window_of(node);
  node.require(node.output(1).empty(), "its second output, indices, is not covered");
  node.integer("storage_order", 0);  // of the indices
  const bool ceil_mode = node.integer("ceil_mode", 0) != 0;
  const Value& x = importer.input(node, 0);
  node.require(x.rank == 4, "its input has ", x.rank, " dimensions, expected 4");
  node.require(!ceil_mode || is_symmetric(window),
               "'ceil_mode' with padding that differs between sides is not covered");
  const Value image = padded(importer, node, x, window, -std::numeric_limits<double>::infinity());
  importer.set(node, 0, importer.apply(node, "max_pool2d", pool_attributes(window, ceil_mode), {image}));
}

void average_pool(Importer& importer, const OnnxNode& node) {
  Window window = window_of(node);
  const bool ceil_mode = node.integer("ceil_mode", 0) != 0, counts_padding = node.integer("count_include_pad", 0) != 0;
  const Value& x = importer.input(node, 0);
  node.require(x.rank == 4, "its input has ", x.rank, " dimensions, expected 4");
  node.require(window.dilation == std::vector<int64_t>({1, 1}), "'dilations' are not covered");
  node.require(is_symmetric(window) || (counts_padding && !ceil_mode),
               "padding that differs between sides and is not counted is not covered");
  const Value image = padded(importer, node, x, window, 0);
  Attributes attributes = pool_attributes(window, ceil_mode);
  attributes.set("count_include_pad", counts_padding);
  importer.set(node, 0, importer.apply(node, "avg_pool2d", attributes, {image}));
}

void global_average_pool(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  if (x.rank == 4)
    return importer.set(
        node, 0, importer.apply(node, "adaptive_avg_pool2d", {{"output_size", std::vector<int64_t>{1, 1}}}, {x}));
  std::vector<int64_t> axes;
  for (int64_t d = 2; d < x.rank; ++d) axes.push_back(d);
  importer.set(node, 0, importer.apply(node, "mean", {{"axes", axes}, {"keepdim", true}}, {x}));
}

void global_max_pool(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  std::vector<int64_t> axes;
  for (int64_t d = 2; d < x.rank; ++d) axes.push_back(d);
  importer.set(node, 0, importer.apply(node, "max", {{"axes", axes}, {"keepdim", true}}, {x}));
}

// By whole numbers, each pixel repeated: all that the common modes of coordinates agree on.
void resize(Importer& importer, const OnnxNode& node) {
  node.require(node.text("mode", "nearest") == "nearest", "only the mode 'nearest' is covered");
  const std::string coordinates = node.text("coordinate_transformation_mode", "half_pixel");
  const std::string nearest = node.text("nearest_mode", "round_prefer_floor");
  const bool repeats = (coordinates == "asymmetric" && nearest == "floor") ||
                       ((coordinates == "half_pixel" || coordinates == "pytorch_half_pixel") &&
                        (nearest == "round_prefer_floor" || nearest == "round_prefer_ceil"));
  node.number("cubic_coeff_a", -0.75);
  node.number("extrapolation_value", 0);
  node.integer("exclude_outside", 0);
  const bool is_upsample = node.op() == "Upsample" || node.opset() < 11;
  node.require(is_upsample || repeats, "'", coordinates, "' with '", nearest, "' is not covered");
  const std::vector<double> scales = importer.constant(node, is_upsample ? 1 : 2, "scales").to_vector<double>();
  const auto is_whole = [](double scale) {
    return scale >= 1 && scale <= 1024 && scale == static_cast<int64_t>(scale);
  };
  node.require(scales.size() == 4 && scales[0] == 1 && scales[1] == 1 && is_whole(scales[2]) && is_whole(scales[3]),
               "its scales are not 1, 1 and two whole numbers");
  const std::vector<int64_t> factor{static_cast<int64_t>(scales[2]), static_cast<int64_t>(scales[3])};
  importer.set(node, 0,
               importer.apply(node, "upsample_nearest2d", {{"scale_factor", factor}}, {importer.input(node, 0)}));
}

}  // namespace

void add_pools(Handlers& handlers) {
  const Handlers own{{"AveragePool", average_pool},
                     {"GlobalAveragePool", global_average_pool},
                     {"GlobalMaxPool", global_max_pool},
                     {"MaxPool", max_pool},
                     {"Resize", resize},
                     {"Upsample", resize}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
