// Layers of quantization-aware training: floats that take the values of integers.
#include <algorithm>
#include <string_view>

#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_linear.h>
#include <thimble/quant/qat/qat_layers.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_products.h>
#include <thimble/serialization/onnx/export_quantization.h>

namespace thimble::onnx {

namespace {

using nn::Node;
using quant::QuantizationSpec;

// Activations, as uint8: signed ones, too, which stand for the same.
void write_fake_quantize(Exporter& e, const Node& node) {
  const auto& layer = *e.graph().layer_as<quant::FakeQuantize>(&node);
  if (!layer.quantizing()) return e.result_is(node, e.input(node, 0));
  const QuantizationSpec& spec = layer.spec();
  Exporter::require(layer.has_qparams() && !spec.axis, "its parameters are not those of a whole tensor");
  const quant::QParams chosen = layer.qparams();
  const quant::TensorQParams p = quant::TensorQParams::from(chosen);
  const int32_t shift = p.zero_point - chosen.zero_point[0];
  const std::string q = quantized(e, node, e.input(node, 0), p, {spec.qmin() + shift, spec.qmax() + shift});
  e.result(node, "DequantizeLinear", {q, e.number(double{p.scale}), e.number(p.zero_point, DType::uint8)});
}

// The fake quantization that the product's input comes from, through what moves or selects its values; null if they
// come straight from it, or from none.
const quant::FakeQuantize* distant_source(const nn::Graph& graph, const Node& product) {
  constexpr std::string_view kMoves[] = {"flatten", "reshape", "squeeze",    "unsqueeze",          "transpose",
                                         "permute", "slice",   "max_pool2d", "upsample_nearest2d", "Dropout"};
  const Node* value = product.inputs[0];
  while (std::ranges::count(kMoves, export_type_of(graph, *value)) > 0) value = value->inputs[0];
  const auto* source = value == product.inputs[0] ? nullptr : graph.layer_as<quant::FakeQuantize>(value);
  return source && source->quantizing() && source->has_qparams() ? source : nullptr;
}

// Products are of integers where DequantizeLinear is right in front of them: values that were moved since are quantized
// once more, to what they were.
std::string quantized_input(Exporter& e, const Node& node) {
  const std::string x = e.input(node, 0);
  const quant::FakeQuantize* source = distant_source(e.graph(), node);
  if (!source || source->spec().axis) return x;
  const auto p = quant::TensorQParams::from(source->qparams());
  return dequantized(e, node, quantized(e, node, x, p, {}), p);
}

// The op, whose scale is a value of another node.
void write_fake_quantize_op(Exporter& e, const Node& node) {
  const auto spec = QuantizationSpec::from_attributes(node.attributes);
  const auto zero_points = node.attributes.get<std::vector<int64_t>>("zero_point");
  Exporter::require(spec.group_size == 0, "it has parameters for groups");
  const int32_t least = spec.is_signed ? -128 : 0;
  std::string scale = e.input(node, 1);
  NDArray zero_point = NDArray::from_vector(zero_points).to(spec.dtype());
  Attributes attributes;
  if (spec.axis)
    attributes.set("axis", e.axis_of(node, *spec.axis));
  else
    scale = e.step(node, "Squeeze", {scale, e.integers({0})}), zero_point = zero_point.squeeze(0);
  const std::string zero = e.tensor(node, "zero_point", zero_point);
  std::string q = e.step(node, "QuantizeLinear", {e.input(node, 0), scale, zero}, attributes);
  if (spec.qmin() > least || spec.qmax() < least + 255)
    q = e.step(node, "Clip", {q, e.number(spec.qmin(), spec.dtype()), e.number(spec.qmax(), spec.dtype())});
  e.result(node, "DequantizeLinear", {q, scale, zero}, attributes);
}

// Whether integer layers have such weights.
bool are_integer_weights(const QuantizationSpec& spec) {
  return spec.is_signed && spec.scheme == quant::QScheme::symmetric && spec.group_size == 0 &&
         (!spec.axis || *spec.axis == 0);
}

// The integer layer that convert() would make, for its weights and bias.
std::shared_ptr<quant::IntegerProduct> integer_layer(const quant::ProductWeights& weights, float input_scale,
                                                     const Conv2dOptions* conv) {
  const quant::TensorQParams input{input_scale, 0, 8};
  if (conv) return quant::QuantizedConv2d::from_weights(weights, *conv, input, std::nullopt, false);
  return quant::QuantizedLinear::from_weights(weights, input, std::nullopt, false);
}

struct WeightAndBias {
  std::string weight, bias;  // names in the model; no bias: empty
};

// A bias is an integer once the scale of the layer's input stays as it is.
WeightAndBias weight_and_bias(Exporter& e, const Node& node, const Conv2dOptions* conv) {
  auto& layer = dynamic_cast<quant::QATLayer&>(e.graph().layer(&node));
  const quant::ProductWeights folded = layer.product_weights();
  const std::string float_bias = folded.bias.defined() ? e.tensor(node, "bias", folded.bias.data()) : "";
  if (!layer.weight_fake_quant().quantizing() || !are_integer_weights(folded.qparams.spec))
    return {e.tensor(node, "weight", folded.weight.data()), float_bias};
  const float known_scale = state_array(e.graph().layer(&node), "input_scale").item<float>();
  const bool rounds = known_scale > 0 && folded.bias.defined();
  const auto integers =
      integer_layer({folded.weight, rounds ? folded.bias : Tensor(), folded.qparams}, rounds ? known_scale : 1, conv);
  const ExportedWeights weights(integers->weights(), e.reduce_range());
  const std::string weight = dequantized_tensor(e, node, "integer_weight", weights.values, weights.step);
  if (!rounds) return {weight, float_bias};
  std::vector<float> scale;
  for (const float step : weights.step) scale.push_back(step * known_scale);
  return {weight, dequantized_tensor(e, node, "integer_bias", weights.in_unit(state_array(*integers, "bias")), scale)};
}

bool has_relu(const Exporter& e, const Node& node) {
  return dynamic_cast<const quant::QATLayer&>(e.graph().layer(&node)).has_relu();
}

std::vector<std::string> with_bias(std::vector<std::string> inputs, const std::string& bias) {
  if (!bias.empty()) inputs.push_back(bias);
  return inputs;
}

void write_qat_linear(Exporter& e, const Node& node) {
  const WeightAndBias own = weight_and_bias(e, node, nullptr);
  const std::string x = quantized_input(e, node);
  const bool relu = has_relu(e, node);
  if (e.input_type(node, 0).rank() == 2)
    return write_activated(e, node, relu, "Gemm", with_bias({x, own.weight}, own.bias), {{"transB", true}});
  const std::string weight = e.step(node, "Transpose", {own.weight}, {{"perm", std::vector<int64_t>{1, 0}}});
  if (own.bias.empty()) return write_activated(e, node, relu, "MatMul", {x, weight});
  write_activated(e, node, relu, "Add", {e.step(node, "MatMul", {x, weight}), own.bias});
}

void write_qat_conv(Exporter& e, const Node& node) {
  const auto& conv = *e.graph().layer_as<quant::QATConv2d>(&node);
  const Conv2dOptions& options = conv.nn::Conv2d::options();
  const WeightAndBias own = weight_and_bias(e, node, &options);
  write_activated(e, node, has_relu(e, node), "Conv", with_bias({quantized_input(e, node), own.weight}, own.bias),
                  conv_attributes_of(options, conv.kernel().to_vector()));
}

}  // namespace

void add_qat_exports(ExportHandlers& handlers) {
  handlers["FakeQuantize"] = {write_fake_quantize};
  handlers["QATConv2d"] = {write_qat_conv};
  handlers["QATLinear"] = {write_qat_linear};
  handlers["fake_quantize"] = {write_fake_quantize_op};
}

}  // namespace thimble::onnx
