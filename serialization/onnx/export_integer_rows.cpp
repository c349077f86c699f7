// Integer layers between DequantizeLinear and QuantizeLinear: attention's products, softmax, normalizations, means.
#include <thimble/quant/layers/quantized_layer_norm.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_products.h>
#include <thimble/serialization/onnx/export_quantization.h>
#include <thimble/serialization/onnx/export_reductions.h>

namespace thimble::onnx {

namespace {

using nn::Node;

std::string float_input(Exporter& e, const Node& node) {
  return dequantized(e, node, e.input(node, 0), qparams_in(e, node, "input_"));
}

void write_integers(Exporter& e, const Node& node, const std::string& x) {
  write_quantized(e, node, x, qparams_in(e, node, "output_"));
}

void write_quantized_matmul(Exporter& e, const Node& node) {
  const std::string a = dequantized(e, node, e.input(node, 0), qparams_in(e, node, "a_")),
                    b = dequantized(e, node, e.input(node, 1), qparams_in(e, node, "b_"));
  write_integers(e, node, e.step(node, "MatMul", {a, b}));
}

// ONNX Runtime's softmax of integers loses the largest answers of rows of n where the output's scale is finer than 1 /
// (148 * n), see findings/: of finer scales than 1/256 it is computed in floats.
void write_quantized_softmax(Exporter& e, const Node& node) {
  const auto axis = e.graph().layer(&node).attributes().get<int64_t>("axis");
  const std::string y = e.step(node, "Softmax", {float_input(e, node)}, {{"axis", axis}});
  write_integers(e, node, qparams_in(e, node, "output_").scale < 1.0f / 256 ? kept_float(e, node, y) : y);
}

void write_quantized_layer_norm(Exporter& e, const Node& node) {
  const nn::Module& layer = e.graph().layer(&node);
  const Attributes a = layer.attributes();
  const Shape shape(a.get<std::vector<int64_t>>("normalized_shape"));
  const bool affine = a.get<bool>("elementwise_affine");
  std::vector<std::string> inputs{
      float_input(e, node), e.tensor(node, "weight", affine ? state_array(layer, "weight") : NDArray::ones(shape))};
  if (affine) inputs.push_back(e.tensor(node, "bias", state_array(layer, "bias")));
  write_integers(e, node,
                 e.step(node, "LayerNormalization", inputs,
                        {{"axis", int64_t{-shape.ndim()}}, {"epsilon", a.get<double>("eps")}}));
}

void write_quantized_mean(Exporter& e, const Node& node) {
  const Attributes a = e.graph().layer(&node).attributes();
  const ReductionCall mean(e, "ReduceMean", float_input(e, node), a.get<std::vector<int64_t>>("axes"),
                           a.get<bool>("keepdim"));
  write_integers(e, node, mean.step(e, node));
}

// Integers are what they were; layers that read them say what they stand for.
void write_quantized_scale(Exporter& e, const Node& node) {
  e.result_is(node, e.input(node, 0));
  quant::TensorQParams scaled = e.qparams_of(*node.inputs[0]);
  scaled.scale = static_cast<float>(double{scaled.scale} * e.graph().layer(&node).attributes().get<double>("factor"));
  e.set_qparams(node, scaled);
}

}  // namespace

void add_integer_row_exports(ExportHandlers& handlers) {
  const ExportHandlers own{{"QuantizedLayerNorm", {write_quantized_layer_norm}},
                           {"QuantizedMatMul", {write_quantized_matmul}},
                           {"QuantizedMean", {write_quantized_mean}},
                           {"QuantizedScale", {write_quantized_scale}},
                           {"QuantizedSoftmax", {write_quantized_softmax}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
