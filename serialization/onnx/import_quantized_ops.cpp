// Ops that take and give integers. Those that have scales are the float op between DequantizeLinear and QuantizeLinear,
// of which integer layers are made where they can be; the others are exact.
#include <algorithm>
#include <optional>

#include <thimble/serialization/onnx/block_weights.h>
#include <thimble/serialization/onnx/expansion.h>
#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

// Inputs i, i + 1 and i + 2 are integers, their scale and their zero point.
std::string dequantized(Expansion& parts, const OnnxNode& node, size_t i, int64_t axis = 0) {
  return parts.with("axis", axis).add("DequantizeLinear", {node.input(i), node.input(i + 1), node.input(i + 2)});
}

// Inputs i and i + 1 are the output's scale and zero point.
void quantize(Expansion& parts, const OnnxNode& node, const std::string& y, size_t i) {
  parts.add_last("QuantizeLinear", {y, node.input(i), node.input(i + 1)});
}

// int32, whose unit is the sums'.
std::string dequantized_bias(Expansion& parts, const std::string& bias, const std::string& x_scale,
                             const std::string& w_scale) {
  const std::string scale = parts.add("Mul", {x_scale, w_scale});
  return parts.with("axis", 0).add("DequantizeLinear", {bias, scale});
}

void qlinear_conv(Importer& importer, const OnnxNode& node) {
  Expansion parts(importer, node);
  std::vector<std::string> operands{dequantized(parts, node, 0), dequantized(parts, node, 3)};
  if (importer.has_input(node, 8))
    operands.push_back(dequantized_bias(parts, node.input(8), node.input(1), node.input(4)));
  parts.with({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"});
  quantize(parts, node, parts.add("Conv", operands), 6);
}

void require_scale_rank(Importer& importer, const OnnxNode& node, size_t i) {
  node.require(importer.rank(node, i) <= 1, "its scale ", i, " has ", importer.rank(node, i),
               " dimensions, expected at most 1");
}

// Scales are per tensor, per row of a or per column of b.
void qlinear_matmul(Importer& importer, const OnnxNode& node) {
  require_scale_rank(importer, node, 1);
  require_scale_rank(importer, node, 4);
  Expansion parts(importer, node);
  const std::string a = dequantized(parts, node, 0, -2), b = dequantized(parts, node, 3, -1);
  quantize(parts, node, parts.add("MatMul", {a, b}), 6);
}

void qgemm(Importer& importer, const OnnxNode& node) {
  Expansion parts(importer, node);
  const double alpha = node.number("alpha", 1);
  const bool trans_b = node.integer("transB", 0) != 0;
  std::vector<std::string> operands{dequantized(parts, node, 0), dequantized(parts, node, 3, trans_b ? 0 : 1)};
  if (importer.has_input(node, 6)) {
    std::string scale = node.input(1);
    if (alpha != 1) scale = parts.add("Mul", {scale, parts.add(Importer::number(alpha), "alpha")});
    operands.push_back(dequantized_bias(parts, node.input(6), scale, node.input(4)));
  }
  parts.with({"alpha", "transA", "transB"});
  if (!importer.has_input(node, 7)) return parts.add_last("Gemm", operands);
  quantize(parts, node, parts.add("Gemm", operands), 7);
}

template <const char* kOp>
void qlinear_binary(Importer& importer, const OnnxNode& node) {
  Expansion parts(importer, node);
  const std::string a = dequantized(parts, node, 0), b = dequantized(parts, node, 3);
  quantize(parts, node, parts.add(kOp, {a, b}), 6);
}

// x, its scale and zero point, and the output's; attributes are the op's own.
void qlinear_unary(Importer& importer, const OnnxNode& node, const char* op, const std::vector<std::string>& keys) {
  Expansion parts(importer, node);
  const std::string x = dequantized(parts, node, 0);
  quantize(parts, node, parts.with(keys).add(op, {x}), 3);
}

void require_channels_first(const OnnxNode& node) {
  node.require(node.integer("channels_last", 0) == 0, "its attribute 'channels_last' is not covered");
}

void qlinear_average_pool(Importer& importer, const OnnxNode& node) {
  require_channels_first(node);
  qlinear_unary(importer, node, "AveragePool",
                {"auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"});
}

void qlinear_global_average_pool(Importer& importer, const OnnxNode& node) {
  require_channels_first(node);
  qlinear_unary(importer, node, "GlobalAveragePool", {});
}

void qlinear_sigmoid(Importer& importer, const OnnxNode& node) { qlinear_unary(importer, node, "Sigmoid", {}); }

void qlinear_leaky_relu(Importer& importer, const OnnxNode& node) {
  qlinear_unary(importer, node, "LeakyRelu", {"alpha"});
}

// Its attribute says which version of Softmax it is; the axis is the last one, if none is given, in all of them.
void qlinear_softmax(Importer& importer, const OnnxNode& node) {
  Expansion parts(importer, node);
  const std::string x = dequantized(parts, node, 0);
  parts.with("axis", node.integer("axis", -1));
  quantize(parts, node, parts.add("Softmax", {x}, node.integer("opset", 0)), 3);
}

// The output's scale and zero point, then each operand with its own.
void qlinear_concat(Importer& importer, const OnnxNode& node) {
  Expansion parts(importer, node);
  node.require(node.num_inputs() >= 5 && node.num_inputs() % 3 == 2, "it has ", node.num_inputs(), " inputs");
  std::vector<std::string> operands;
  for (size_t i = 2; i < node.num_inputs(); i += 3) operands.push_back(dequantized(parts, node, i));
  quantize(parts, node, parts.with({"axis"}).add("Concat", operands), 0);
}

// Exact: sums of products of 8 bits fit double.
Value in_double(Importer& importer, const OnnxNode& node, const Value& x) {
  return importer.apply(node, "cast", {{"dtype", std::string("float64")}}, {x});
}

// Input i without its zero point, input z, whose elements, if there are several, lie along a dimension that so many
// follow.
Value without_zero_point(Importer& importer, const OnnxNode& node, size_t i, size_t z, int following) {
  const Value x = in_double(importer, node, importer.input(node, i));
  if (!importer.has_input(node, z)) return x;
  Value zero_point = in_double(importer, node, importer.input(node, z));
  node.require(zero_point.rank <= 1, "its zero point ", z, " has ", zero_point.rank, " dimensions, expected at most 1");
  for (int d = 0; d < following && zero_point.rank > 0; ++d)  // {n} becomes {n, 1, ...}
    zero_point = importer.apply(node, "unsqueeze", {{"axis", int64_t{-1}}}, {zero_point}, zero_point.rank + 1);
  return importer.apply(node, "sub", {}, {x, zero_point}, x.rank);
}

Value in_int32(Importer& importer, const OnnxNode& node, const Value& y) {
  return importer.apply(node, "cast", {{"dtype", std::string("int32")}}, {y});
}

// Notes what the sums were made of, if it is what layers can have. `weight` is double, [out, ...].
void note_sums(Importer& importer, const OnnxNode& node, const Value& sums, const NDArray& weight,
               const std::optional<Conv2dOptions>& conv) {
  const Value &x = importer.input(node, 0),
              zero_point = importer.has_input(node, 2) ? importer.input(node, 2) : Value();
  const bool has_one_zero_point =
      zero_point.rank <= 0 || (zero_point.constant.defined() && zero_point.constant.numel() == 1);
  const std::vector<double> w = weight.to_vector<double>();
  const bool is_narrow = std::ranges::all_of(w, [](double v) { return v >= -128 && v <= 127; });
  if (!x.node || !sums.node || !has_one_zero_point || !is_narrow || weight.numel() == 0) return;
  importer.quantized().sums.sums[sums.node] = {.x = x.node,
                                               .zero_point = zero_point.constant.defined() ? nullptr : zero_point.node,
                                               .known_zero_point = zero_point.constant,
                                               .weight = weight.to(DType::int8).contiguous(),
                                               .conv = conv,
                                               .rank = sums.rank};
}

void matmul_integer(Importer& importer, const OnnxNode& node) {
  const int a_rank = importer.rank(node, 0), b_rank = importer.rank(node, 1);
  node.require(a_rank > 0 && b_rank > 0, "nobody knows how many dimensions its inputs have");
  const Value a = without_zero_point(importer, node, 0, 2, a_rank > 1 ? 1 : 0),
              b = without_zero_point(importer, node, 1, 3, 0);
  const int rank = std::max(a_rank, b_rank) - (a_rank == 1 || b_rank == 1 ? 1 : 0);
  const Value product = importer.apply(node, "matmul", {}, {a, b}, a_rank == 1 && b_rank == 1 ? 0 : rank);
  const Value y = in_int32(importer, node, product);
  if (b.constant.defined() && b_rank == 2 && a_rank >= 2)
    note_sums(importer, node, y, b.constant.transpose(0, 1), std::nullopt);
  importer.set(node, 0, y);
}

// Of images, with padding that the node says; none for others.
std::optional<Conv2dOptions> conv_options_of(const OnnxNode& node, const NDArray& weight) {
  const std::string auto_pad = node.text("auto_pad", "NOTSET");
  const auto stride = node.integers("strides", {1, 1}), dilation = node.integers("dilations", {1, 1});
  const auto pads = node.integers("pads", {0, 0, 0, 0});
  const bool is_plain = (auto_pad == "NOTSET" || auto_pad == "VALID") && weight.ndim() == 4 && stride.size() == 2 &&
                        dilation.size() == 2 && pads.size() == 4;
  if (!is_plain) return std::nullopt;
  return Conv2dOptions{.stride = {stride[0], stride[1]},
                       .padding = auto_pad == "VALID" ? Padding(0) : Padding(pads[0], pads[1], pads[2], pads[3]),
                       .dilation = {dilation[0], dilation[1]},
                       .groups = node.integer("group", 1)};
}

void conv_integer(Importer& importer, const OnnxNode& node) {
  Expansion parts(importer, node);
  const std::string x = parts.add(without_zero_point(importer, node, 0, 2, 0), "x");
  const Value weight = without_zero_point(importer, node, 1, 3, importer.rank(node, 1) - 1);
  // As a node: layers are of float32.
  const std::string w = parts.add(importer.as_node(node, weight), "w");
  parts.with({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"});
  const Value y = in_int32(importer, node, importer.named(parts.add("Conv", {x, w})));
  const auto conv = weight.constant.defined() ? conv_options_of(node, weight.constant) : std::nullopt;
  if (conv) note_sums(importer, node, y, weight.constant, conv);
  importer.set(node, 0, y);
}

// What MatMulNBits says of its weights, checked.
BlockWeights block_weights_of(Importer& importer, const OnnxNode& node) {
  BlockWeights w;
  w.in = node.integer("K", 0);
  w.out = node.integer("N", 0);
  w.group_size = node.integer("block_size", 0);
  const int64_t bits = node.integer("bits", 4);
  node.integer("accuracy_level", 0);  // how activations may be rounded: here they are not
  const auto is_size = [](int64_t size) { return size >= 1 && size <= 1 << 30; };  // whose products fit
  node.require(is_size(w.in) && is_size(w.out) && is_size(w.group_size) && w.group_size % 8 == 0,
               "its attributes 'K', ", "'N' and 'block_size' are ", w.in, ", ", w.out, " and ", w.group_size);
  node.require(bits == 2 || bits == 4 || bits == 8, "weights of ", bits, " bits are not covered");
  w.bits = static_cast<int>(bits);

  const NDArray packed = importer.constant(node, 1, "B"), scales = importer.constant(node, 2, "scales");
  const int64_t groups = w.groups(), row_bytes = groups * w.group_size * bits / 8;
  node.require(packed.dtype() == DType::uint8 && packed.numel() == w.out * row_bytes, "its input 'B' is ",
               describe(packed), ", expected ", w.out * row_bytes, " bytes");
  node.require(scales.dtype() == DType::float32 && scales.numel() == w.out * groups, "its input 'scales' is ",
               describe(scales), ", expected ", w.out * groups, " floats");
  w.values = unpacked_rows(packed.contiguous().data<uint8_t>(), w.out, row_bytes, w.in, w.bits);
  w.scale = scales.to_vector<float>();
  w.zero_point.assign(w.scale.size(), static_cast<uint8_t>(1 << (w.bits - 1)));
  if (!importer.has_input(node, 3)) return w;

  const NDArray zero_points = importer.constant(node, 3, "zero_points");
  const int64_t zero_bytes = (groups * bits + 7) / 8;
  node.require(zero_points.dtype() == DType::uint8 && zero_points.numel() == w.out * zero_bytes,
               "its input 'zero_points' is ", describe(zero_points), ", expected ", w.out * zero_bytes, " bytes");
  w.zero_point = unpacked_rows(zero_points.contiguous().data<uint8_t>(), w.out, zero_bytes, groups, w.bits);
  return w;
}

void matmul_nbits(Importer& importer, const OnnxNode& node) {
  node.require(!importer.has_input(node, 4), "its input 'g_idx' is not covered");
  const Value& a = importer.input(node, 0);
  const NDArray bias = importer.has_input(node, 5) ? importer.constant(node, 5, "bias") : NDArray();
  const WeightOnlyTensors layer = weight_only_tensors(block_weights_of(importer, node), bias);
  importer.set(node, 0, importer.call(node, "WeightOnlyLinear", layer.attributes, layer.tensors, {a}, a.rank));
}

constexpr char kQuantizedAdd[] = "Add", kQuantizedMul[] = "Mul";

}  // namespace

void add_quantized_ops(Handlers& handlers) {
  const Handlers own{{"ConvInteger", conv_integer},
                     {"MatMulInteger", matmul_integer},
                     {"QLinearConv", qlinear_conv},
                     {"QLinearMatMul", qlinear_matmul},
                     {"com.microsoft.MatMulNBits", matmul_nbits},
                     {"com.microsoft.QGemm", qgemm},
                     {"com.microsoft.QLinearAdd", qlinear_binary<kQuantizedAdd>},
                     {"com.microsoft.QLinearAveragePool", qlinear_average_pool},
                     {"com.microsoft.QLinearConcat", qlinear_concat},
                     {"com.microsoft.QLinearConv", qlinear_conv},
                     {"com.microsoft.QLinearGlobalAveragePool", qlinear_global_average_pool},
                     {"com.microsoft.QLinearLeakyRelu", qlinear_leaky_relu},
                     {"com.microsoft.QLinearMul", qlinear_binary<kQuantizedMul>},
                     {"com.microsoft.QLinearSigmoid", qlinear_sigmoid},
                     {"com.microsoft.QLinearSoftmax", qlinear_softmax}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
