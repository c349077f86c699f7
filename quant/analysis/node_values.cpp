#include <thimble/quant/analysis/node_values.h>
#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/layers/weight_only_linear.h>
#include <thimble/quant/linear_quantization.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

std::optional<TensorQParams> qparams_of(const Graph& graph, const Node* node) {
  if (node->kind == Node::Kind::layer) {
    const Attributes a = graph.layer(node).attributes();
    if (a.contains("output_scale")) return TensorQParams::from_attributes(a, "output_");
    if (graph.is_layer(node, "Quantize")) return TensorQParams::from_attributes(a, "");
  }
  if (node->inputs.empty()) return std::nullopt;
  std::optional<TensorQParams> p = qparams_of(graph, node->inputs[0]);
  if (p && graph.is_layer(node, "QuantizedScale"))
    p->scale = static_cast<float>(double{p->scale} * graph.layer(node).attributes().get<double>("factor"));
  return p;
}

NDArray as_floats(const Graph& graph, const Node* node, const NDArray& value) {
  if (value.dtype() == DType::float32) return value;
  const auto p = value.dtype() == DType::uint8 ? qparams_of(graph, node) : std::nullopt;
  return p ? dequantize(value.contiguous(), {QuantizationSpec::activation(p->bits), {p->scale}, {p->zero_point}})
           : NDArray();
}

NDArray dequantized_weight_of(const Graph& graph, const Node* node) {
  if (const auto* product = graph.layer_as<IntegerProduct>(node)) return product->weights().dequantized();
  if (const auto* dynamic = graph.layer_as<DynamicProduct>(node)) return dynamic->weights().dequantized();
  const auto* weight_only = graph.layer_as<WeightOnlyLinear>(node);
  return weight_only ? weight_only->dequantized_weight() : NDArray();
}

}  // namespace thimble::quant
