// Layers of static quantization.
#include <algorithm>
#include <unordered_set>

#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_linear.h>
#include <thimble/quant/qat/qat_layers.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_products.h>
#include <thimble/serialization/onnx/export_sums.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

namespace {

using nn::Node;
using quant::TensorQParams;

// Whether there is a product by weights that are floats in the model, between integer layers and the value.
bool multiplies_floats(const nn::Graph& graph, const Node* value) {
  constexpr std::string_view kTypes[] = {"Linear", "LinearReLU",      "Conv2d",           "Conv2dReLU",      "Conv1d",
                                         "Conv3d", "ConvTranspose2d", "ConvTranspose3d",  "linear",          "matmul",
                                         "conv2d", "conv3d",          "conv_transpose2d", "conv_transpose3d"};
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> open{value};
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!seen.insert(node).second || graph.layer_as<quant::IntegerLayer>(node)) continue;
    if (std::ranges::count(kTypes, export_type_of(graph, *node)) > 0) return true;
    open.insert(open.end(), node->inputs.begin(), node->inputs.end());
  }
  return false;
}

// ONNX Runtime quantizes float weights of a product between DequantizeLinear and QuantizeLinear, also where it can
// merge what else is between them into the product, or move the QuantizeLinear in front of it.
void write_quantize(Exporter& e, const Node& node) {
  const TensorQParams p = qparams_in(e, node, "");
  const std::string x = e.without_clamps(e.input(node, 0), p);
  write_quantized(e, node, multiplies_floats(e.graph(), node.inputs[0]) ? kept_float(e, node, x) : x, p);
}

void write_dequantize(Exporter& e, const Node& node) {
  const TensorQParams p = qparams_in(e, node, "");
  e.result(node, "DequantizeLinear",
           {e.input(node, 0), e.number(double{p.scale}), e.number(p.zero_point, DType::uint8)});
}

// ONNX Runtime replaces two pairs of QuantizeLinear and DequantizeLinear that follow each other by one of other
// parameters; a Clip between them, which changes nothing, keeps them.
void write_requantize(Exporter& e, const Node& node) {
  const auto bound = [&](int value) { return e.number(value, DType::uint8); };
  const std::string q = e.step(node, "Clip", {e.input(node, 0), bound(0), bound(255)});
  const std::string x = dequantized(e, node, q, qparams_in(e, node, "input_"));
  write_quantized(e, node, x, qparams_in(e, node, "output_"));
}

void write_quantized_clamp(Exporter& e, const Node& node) {
  const Attributes a = e.graph().layer(&node).attributes();
  const auto low = a.get<int64_t>("low"), high = a.get<int64_t>("high");
  const auto bound = [&](int64_t value) { return e.number(static_cast<double>(value), DType::uint8); };
  if (low == 0 && high == 255)
    e.result_is(node, e.input(node, 0));
  else
    e.result(node, "Clip", {e.input(node, 0), bound(low), bound(high)});
}

// Of two integers.
void write_quantized_pair(Exporter& e, const Node& node, const char* op) {
  const TensorQParams output = qparams_in(e, node, "output_");
  const bool relu = e.graph().layer(&node).attributes().get("relu", false);
  const std::string a = dequantized(e, node, e.input(node, 0), qparams_in(e, node, "a_")),
                    b = dequantized(e, node, e.input(node, 1), qparams_in(e, node, "b_"));
  write_quantized(e, node, e.step(node, op, {a, b}), output, relu ? output.zero_point : 0);
}

void write_quantized_add(Exporter& e, const Node& node) { write_quantized_pair(e, node, "Add"); }
void write_quantized_sub(Exporter& e, const Node& node) { write_quantized_pair(e, node, "Sub"); }
void write_quantized_mul(Exporter& e, const Node& node) { write_quantized_pair(e, node, "Mul"); }
void write_quantized_maximum(Exporter& e, const Node& node) { write_quantized_pair(e, node, "Max"); }
void write_quantized_minimum(Exporter& e, const Node& node) { write_quantized_pair(e, node, "Min"); }

// Of one number: 256 results.
void write_quantized_table(Exporter& e, const Node& node) {
  const std::string table = e.tensor(node, "table", state_array(e.graph().layer(&node), "table"));
  const std::string index = e.step(node, "Cast", {e.input(node, 0)}, {{"to", int64_t{onnx_type(DType::int32)}}});
  e.result(node, "Gather", {table, index}, {{"axis", int64_t{0}}});
}

std::vector<float> times(const std::vector<float>& values, float factor) {
  std::vector<float> products;
  for (const float value : values) products.push_back(value * factor);
  return products;
}

// Sums and what becomes of them, as IntegerProduct says, in ops of their own.
void write_from_sums(Exporter& e, const Node& node, const quant::IntegerProduct& product,
                     const std::optional<Conv2dOptions>& conv) {
  const auto& q = product.quantization();
  IntegerSums sums(e, node, product.weights(), conv);
  const std::vector<float> multiplier = times(product.multiplier(), sums.weights().is_halved ? 2 : 1);
  const std::string zero_point = e.number(q.input.zero_point, DType::uint8);
  std::string value;
  for (int64_t g = 0; g < sums.groups(); ++g) {
    std::string sum = sums.of(e.input(node, 0), zero_point, g);
    if (g == 0)
      sum = e.step(node, "Add", {sum, sums.per_channel("bias", sums.weights().in_unit(state_array(product, "bias")))});
    const std::string scaled = sums.scaled(sum, sums.per_channel("multiplier", multiplier, g));
    value = value.empty() ? scaled : e.step(node, "Add", {value, scaled});
  }
  if (!q.output) return sums.write_float(value, q.relu);
  TensorQParams steps = *q.output;
  steps.scale = 1;
  write_quantized(e, node, value, steps, q.relu ? q.output->zero_point : 0);
  e.set_qparams(node, *q.output);
}

// What follows a product between DequantizeLinear and QuantizeLinear.
void write_product(Exporter& e, const Node& node, const quant::IntegerProduct::Quantization& q, const std::string& op,
                   const std::vector<std::string>& inputs, const Attributes& attributes) {
  if (!q.output && !q.relu) {
    e.result(node, op, inputs, attributes);
    return;
  }
  const std::string value = e.step(node, op, inputs, attributes);
  if (q.output)
    write_quantized(e, node, value, *q.output, q.relu ? q.output->zero_point : 0);
  else
    e.result(node, "Relu", {value});
}

// The layer's bias, in the unit of its sums.
std::string dequantized_bias(Exporter& e, const Node& node, const quant::IntegerProduct& product,
                             const ExportedWeights& weights) {
  return dequantized_tensor(e, node, "bias", weights.in_unit(state_array(product, "bias")),
                            times(weights.step, product.quantization().input.scale));
}

void write_quantized_conv(Exporter& e, const Node& node) {
  const auto& conv = *e.graph().layer_as<quant::QuantizedConv2d>(&node);
  const auto& q = conv.quantization();
  if (!q.output) return write_from_sums(e, node, conv, conv.options());  // a Conv without a QuantizeLinear stays float
  const ExportedWeights weights(conv.weights(), e.reduce_range());
  const Shape& shape = weights.values.shape();
  write_product(
      e, node, q, "Conv",
      {dequantized(e, node, e.input(node, 0), q.input),
       dequantized_tensor(e, node, "weight", weights.values, weights.step), dequantized_bias(e, node, conv, weights)},
      conv_attributes_of(conv.options(), {shape[2], shape[3]}));
}

// A Gemm takes matrices; a MatMul, which has no bias, the weights the other way round.
void write_quantized_linear(Exporter& e, const Node& node) {
  const auto& linear = *e.graph().layer_as<quant::QuantizedLinear>(&node);
  const auto& q = linear.quantization();
  if (linear.weights().groups() > 1) return write_from_sums(e, node, linear, std::nullopt);
  const ExportedWeights weights(linear.weights(), e.reduce_range());
  const std::string x = dequantized(e, node, e.input(node, 0), q.input),
                    bias = dequantized_bias(e, node, linear, weights);
  if (e.input_type(node, 0).rank() == 2) {
    const std::string weight = dequantized_tensor(e, node, "weight", weights.values, weights.step);
    return write_product(e, node, q, "Gemm", {x, weight, bias}, {{"transB", true}});
  }
  const std::string weight = dequantized_tensor(e, node, "weight", weights.values.transpose(0, 1), weights.step, 1);
  write_product(e, node, q, "Add", {e.step(node, "MatMul", {x, weight}), bias}, {});
}

// Blocks, and integers of 16 bits.
int64_t linear_quantization_opset(const Exporter& e, const Node& node) {
  const DType dtype = node.target == "quantize_linear" ? e.type_of(node).dtype : e.input_type(node, 0).dtype;
  const bool is_wide = dtype == DType::int16 || dtype == DType::uint16;
  return is_wide || node.attributes.get("block_size", int64_t{0}) > 0 ? 21 : 17;
}

// Ops, whose parameters are values of other nodes. Of types that arrays lack, their zero points do not say which.
void write_linear_quantization(Exporter& e, const Node& node) {
  const bool quantizes = node.target == "quantize_linear";
  const auto type = node.attributes.get<std::string>("type", "");
  const std::vector<std::string> inputs = e.operands(node);
  const bool is_plain = type.empty() || type == name(e.type_of(node).dtype);
  const bool says_type = inputs.size() > 2 || type.empty() || type == "uint8";
  Exporter::require(is_plain && says_type, "it is of the type '", type, "'");
  const auto block_size = node.attributes.get("block_size", int64_t{0});
  Attributes attributes{{"axis", node.attributes.get("axis", int64_t{1})}};
  if (block_size > 0) attributes.set("block_size", block_size);
  e.result(node, quantizes ? "QuantizeLinear" : "DequantizeLinear", inputs, attributes);
}

}  // namespace

void add_integer_exports(ExportHandlers& handlers) {
  const ExportHandlers own{{"Dequantize", {write_dequantize}},
                           {"Quantize", {write_quantize}},
                           {"QuantizedAdd", {write_quantized_add}},
                           {"QuantizedClamp", {write_quantized_clamp}},
                           {"QuantizedConv2d", {write_quantized_conv}},
                           {"QuantizedLinear", {write_quantized_linear}},
                           {"QuantizedMaximum", {write_quantized_maximum}},
                           {"QuantizedMinimum", {write_quantized_minimum}},
                           {"QuantizedMul", {write_quantized_mul}},
                           {"QuantizedSub", {write_quantized_sub}},
                           {"QuantizedTable", {write_quantized_table}},
                           {"Requantize", {write_requantize}},
                           {"dequantize_linear", {write_linear_quantization, linear_quantization_opset}},
                           {"quantize_linear", {write_linear_quantization, linear_quantization_opset}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
