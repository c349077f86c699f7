// Pools.
#include <algorithm>
#include <cmath>
#include <span>

#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_quantization.h>

namespace thimble::onnx {

namespace {

using nn::Node;

size_t dims_of(const Node& node) { return node.attributes.get<std::vector<int64_t>>("kernel_size").size(); }

// Of all axes, once for what is in front and once for what is behind, unless that is the same.
std::vector<int64_t> pads_of(const Node& node) {
  const auto padding = node.attributes.get<std::vector<int64_t>>("padding");
  std::vector<int64_t> pads = padding;
  if (padding.size() == dims_of(node)) pads.insert(pads.end(), padding.begin(), padding.end());
  return pads;
}

std::vector<int64_t> dilation_of(const Node& node) {
  return node.attributes.get("dilation", std::vector<int64_t>(dims_of(node), 1));
}

bool is_dilated(const Node& node) {
  return std::ranges::any_of(dilation_of(node), [](int64_t d) { return d != 1; });
}

Attributes pool_attributes_of(const Node& node) {
  Attributes attributes{{"kernel_shape", node.attributes.get<std::vector<int64_t>>("kernel_size")},
                        {"strides", node.attributes.get<std::vector<int64_t>>("stride")},
                        {"ceil_mode", node.attributes.get<bool>("ceil_mode")}};
  const auto auto_pad = node.attributes.get<std::string>("auto_pad", "none");
  if (auto_pad == "none")
    attributes.set("pads", pads_of(node));
  else
    attributes.set("auto_pad", auto_pad == "lower" ? "SAME_LOWER" : "SAME_UPPER");
  return attributes;
}

void write_max_pool(Exporter& e, const Node& node) {
  Attributes attributes = pool_attributes_of(node);
  attributes.set("dilations", node.attributes.get<std::vector<int64_t>>("dilation"));
  e.result(node, "MaxPool", e.operands(node), attributes);
}

// The mean of integers is one of the same parameters.
void write_average(Exporter& e, const Node& node, const std::string& op, const Attributes& attributes) {
  if (e.type_of(node).dtype != DType::uint8) {
    e.result(node, op, e.operands(node), attributes);
    return;
  }
  const quant::TensorQParams& p = e.qparams_of(*node.inputs[0]);
  const std::string x = dequantized(e, node, e.input(node, 0), p);
  write_quantized(e, node, e.step(node, op, {x}, attributes), p);
}

int64_t avg_pool_opset(const Exporter&, const Node& node) { return is_dilated(node) ? 19 : 17; }

void write_avg_pool(Exporter& e, const Node& node) {
  Attributes attributes = pool_attributes_of(node);
  if (is_dilated(node)) attributes.set("dilations", dilation_of(node));
  attributes.set("count_include_pad", node.attributes.get<bool>("count_include_pad"));
  write_average(e, node, "AveragePool", attributes);
}

// Window i of n covers [floor(i * in / n), ceil((i + 1) * in / n)): a product with a matrix [n, in] of weights.
NDArray averaging_matrix(int64_t in, int64_t n, DType dtype) {
  std::vector<double> weights(static_cast<size_t>(n * in));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t begin = i * in / n, end = ((i + 1) * in + n - 1) / n;
    for (int64_t at = begin; at < end; ++at)
      weights[static_cast<size_t>(i * in + at)] = 1 / static_cast<double>(end - begin);
  }
  return NDArray::from_vector(weights, {n, in}).to(dtype);
}

void write_adaptive_avg_pool(Exporter& e, const Node& node) {
  const auto size = node.attributes.get<std::vector<int64_t>>("output_size");
  if (std::ranges::all_of(size, [](int64_t s) { return s == 1; }))
    return write_average(e, node, "GlobalAveragePool", {});
  const ValueType& x = e.input_type(node, 0);
  bool is_even = true;
  std::vector<int64_t> window;
  for (size_t d = 0; d < size.size(); ++d) {
    const int64_t in = x.sizes.at(d + 2);
    Exporter::require(in > 0, "its image is of a free size");
    is_even = is_even && in % size[d] == 0;
    window.push_back(in / size[d]);
  }
  if (is_even) return write_average(e, node, "AveragePool", {{"kernel_shape", window}, {"strides", window}});
  Exporter::require(x.dtype != DType::uint8, "its windows are of different sizes, of integers");
  Exporter::require(size.size() == 2, "its windows are of different sizes, of volumes");
  const std::string rows = e.tensor(node, "rows", averaging_matrix(x.sizes[2], size[0], x.dtype)),
                    columns = e.tensor(node, "columns", averaging_matrix(x.sizes[3], size[1], x.dtype).transpose(0, 1));
  e.result(node, "MatMul", {e.step(node, "MatMul", {rows, e.input(node, 0)}), columns});
}

int64_t lp_pool_opset(const Exporter&, const Node& node) {
  return is_dilated(node) || node.attributes.get<bool>("ceil_mode") ? 18 : 17;
}

void write_lp_pool(Exporter& e, const Node& node) {
  const auto p = node.attributes.get<double>("p");
  Exporter::require(p == std::floor(p), "its p is no integer");
  Attributes attributes{{"p", static_cast<int64_t>(p)}};
  for (const auto& [key, value] : pool_attributes_of(node))
    if (key != "ceil_mode" || e.opset() >= 18) attributes.set(key, value);
  if (is_dilated(node)) attributes.set("dilations", dilation_of(node));
  e.result(node, "LpPool", e.operands(node), attributes);
}

void write_local_response_norm(Exporter& e, const Node& node) {
  const Attributes& a = node.attributes;
  Exporter::require(a.get<int64_t>("size") % 2 == 1, "of an even size, whose window is another in ONNX");
  e.result(node, "LRN", e.operands(node),
           {{"size", a.get<int64_t>("size")},
            {"alpha", a.get<double>("alpha")},
            {"beta", a.get<double>("beta")},
            {"bias", a.get<double>("k")}});
}

// Of integers, which are of other parameters than their mean.
void write_quantized_global_average(Exporter& e, const Node& node) {
  const Attributes a = e.graph().layer(&node).attributes();
  const std::string x = dequantized(e, node, e.input(node, 0), quant::TensorQParams::from_attributes(a, "input_"));
  write_quantized(e, node, e.step(node, "GlobalAveragePool", {x}), quant::TensorQParams::from_attributes(a, "output_"));
}

// A number for each of some axes as one for each dimension, as before opset 18 all have.
std::vector<double> spread_over_axes(const Exporter& e, const Node& node, std::span<const double> values,
                                     double others) {
  const auto axes = node.attributes.get("axes", std::vector<int64_t>{});
  if (axes.empty()) return {values.begin(), values.end()};
  std::vector<double> all(e.input_type(node, 0).sizes.size(), others);
  for (size_t i = 0; i < axes.size(); ++i) all[static_cast<size_t>(e.axis_of(node, axes[i]))] = values[i];
  return all;
}

// Starts, then ends; other dimensions stay whole.
std::vector<double> roi_of(const Exporter& e, const Node& node, bool has_axes) {
  const auto roi = node.attributes.get("roi", std::vector<double>{});
  if (has_axes || roi.empty()) return roi;
  const std::span<const double> all(roi), starts = all.first(roi.size() / 2), ends = all.last(roi.size() / 2);
  std::vector<double> both = spread_over_axes(e, node, starts, 0);
  for (const double end : spread_over_axes(e, node, ends, 1)) both.push_back(end);
  return both;
}

// Antialias, sizes of some axes, and ratios that are kept.
int64_t interpolate_opset(const Exporter&, const Node& node) {
  const Attributes& a = node.attributes;
  const bool has_scales = !a.get("scales", std::vector<double>{}).empty(),
             has_axes = !has_scales && !a.get("axes", std::vector<int64_t>{}).empty();
  return has_axes || a.get("antialias", false) || a.get<std::string>("aspect", "stretch") != "stretch" ? 18 : 17;
}

void write_interpolate(Exporter& e, const Node& node) {
  const Attributes& a = node.attributes;
  const auto rounding = a.get<std::string>("rounding", "round_prefer_floor"),
             aspect = a.get<std::string>("aspect", "stretch");
  const auto scales = a.get("scales", std::vector<double>{});
  const bool has_scales = !scales.empty(), antialias = a.get("antialias", false);
  const bool has_axes = !has_scales && !a.get("axes", std::vector<int64_t>{}).empty();
  Exporter::require(rounding != "simple", "the rounding 'simple'");
  Attributes attributes{{"mode", a.get<std::string>("mode", "nearest")},
                        {"coordinate_transformation_mode", a.get<std::string>("coordinates", "half_pixel")},
                        {"nearest_mode", rounding},
                        {"cubic_coeff_a", a.get("cubic_a", -0.75)},
                        {"exclude_outside", a.get("exclude_outside", false)},
                        {"extrapolation_value", a.get("extrapolation_value", 0.0)}};
  if (antialias) attributes.set("antialias", true);
  if (aspect != "stretch") attributes.set("keep_aspect_ratio_policy", aspect);
  if (has_axes) attributes.set("axes", a.get<std::vector<int64_t>>("axes"));
  const std::vector<double> roi = roi_of(e, node, has_axes);
  // Of integers, ONNX Runtime cuts means off; of floats it rounds them behind.
  const bool averages_integers =
      e.type_of(node).dtype == DType::uint8 && attributes.get<std::string>("mode") == "linear";
  const auto& p = averages_integers ? e.qparams_of(*node.inputs[0]) : quant::TensorQParams{};
  std::vector<std::string> inputs{averages_integers ? dequantized(e, node, e.input(node, 0), p) : e.input(node, 0),
                                  roi.empty() ? "" : e.constant("roi", NDArray::from_vector(roi).to(DType::float32))};
  if (has_scales)
    inputs.push_back(
        e.constant("scales", NDArray::from_vector(spread_over_axes(e, node, scales, 1)).to(DType::float32)));
  else
    inputs.insert(inputs.end(), {"", e.list_attribute(node, "sizes")});
  if (averages_integers)
    write_quantized(e, node, kept_float(e, node, e.step(node, "Resize", inputs, attributes)), p);
  else
    e.result(node, "Resize", inputs, attributes);
}

}  // namespace

void add_pool_exports(ExportHandlers& handlers) {
  handlers["QuantizedGlobalAvgPool2d"] = {write_quantized_global_average};
  handlers["interpolate"] = {write_interpolate, interpolate_opset};
  handlers["adaptive_avg_pool2d"] = {write_adaptive_avg_pool};
  handlers["adaptive_avg_pool3d"] = {write_adaptive_avg_pool};
  handlers["avg_pool2d"] = {write_avg_pool, avg_pool_opset};
  handlers["avg_pool3d"] = {write_avg_pool, avg_pool_opset};
  handlers["local_response_norm"] = {write_local_response_norm};
  handlers["lp_pool2d"] = {write_lp_pool, lp_pool_opset};
  handlers["lp_pool3d"] = {write_lp_pool, lp_pool_opset};
  handlers["max_pool2d"] = {write_max_pool};
  handlers["max_pool3d"] = {write_max_pool};
}

}  // namespace thimble::onnx
