#include <algorithm>

#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_linear.h>
#include <thimble/serialization/onnx/integer_sums.h>

namespace thimble::onnx {

namespace {

using nn::Graph;
using nn::Node;

// One number for all channels or one for each, as it is broadcast to the sums; empty for others.
template <typename T>
std::vector<T> per_channel(const Graph& graph, const Node* node, const ImportedIntegerSums& sums) {
  if (node->kind != Node::Kind::tensor) return {};
  const NDArray values = graph.tensor(node).data();
  const int64_t out = sums.weight.shape(0);
  const bool widens = values.ndim() > (sums.rank >= 0 ? sums.rank : 1);  // makes the sums of more dimensions
  if (values.dtype() != dtype_of<T> || widens) return {};
  if (values.numel() == 1) return std::vector<T>(static_cast<size_t>(out), values.item<T>());
  const int axis = values.ndim() - (sums.conv ? 3 : 1);
  const bool fits = axis >= 0 && values.numel() == out && values.shape(axis) == out;
  return fits ? values.to_vector<T>() : std::vector<T>();
}

// The sums that the node is, or adds a bias to.
bool find_sums(const Graph& graph, const ImportedSums& imported, const Node* node, ScaledSums& found) {
  if (const auto it = imported.sums.find(node); it != imported.sums.end()) {
    found.sums = &it->second;
    return true;
  }
  if (!graph.is_op(node, "add")) return false;
  for (const size_t i : {0, 1}) {
    const auto it = imported.sums.find(node->inputs[i]);
    if (it == imported.sums.end()) continue;
    found.sums = &it->second;
    found.bias = per_channel<int32_t>(graph, node->inputs[1 - i], it->second);
    return !found.bias.empty();
  }
  return false;
}

// A known factor, or the scale of a dynamic range times one.
bool find_factor(const Graph& graph, const ImportedSums& imported, const Node* node, ScaledSums& found) {
  found.factor = per_channel<float>(graph, node, *found.sums);
  if (!found.factor.empty()) return !found.sums->zero_point;
  const auto dynamic = imported.dynamic.find(found.sums->x);
  if (dynamic == imported.dynamic.end() || !graph.is_op(node, "mul") || !found.bias.empty()) return false;
  found.dynamic = &dynamic->second;
  if (found.dynamic->zero_point != found.sums->zero_point) return false;
  for (const size_t i : {0, 1})
    if (node->inputs[i] == found.dynamic->scale)
      found.factor = per_channel<float>(graph, node->inputs[1 - i], *found.sums);
  return !found.factor.empty();
}

std::shared_ptr<nn::Module> dynamic_layer(const ScaledSums& s) {
  const quant::DynamicProduct::Options options{
      .activation_bits = 8, .relu = false, .bias = false, .range = quant::DynamicRange::call};
  const Shape& shape = s.sums->weight.shape();
  if (s.sums->conv) return std::make_shared<quant::DynamicQuantizedConv2d>(shape, *s.sums->conv, options);
  return std::make_shared<quant::DynamicQuantizedLinear>(shape[1], shape[0], options);
}

std::shared_ptr<nn::Module> static_layer(const ScaledSums& s, int32_t shift) {
  const NDArray& zero_point = s.sums->known_zero_point;
  const quant::TensorQParams input{1, shift + (zero_point.defined() ? zero_point.item<int32_t>() : 0), 8};
  const Shape& shape = s.sums->weight.shape();
  if (s.sums->conv)
    return std::make_shared<quant::QuantizedConv2d>(shape, *s.sums->conv,
                                                    quant::IntegerProduct::Quantization{.input = input});
  return std::make_shared<quant::QuantizedLinear>(
      quant::QuantizedLinear::Config{.in_features = shape[1], .out_features = shape[0], .input = input});
}

}  // namespace

std::optional<ScaledSums> scaled_sums(const Graph& graph, const ImportedSums& imported, const Node* multiply) {
  if (imported.sums.empty() || !graph.is_op(multiply, "mul")) return std::nullopt;
  for (const size_t i : {0, 1}) {
    const Node* cast = multiply->inputs[i];
    if (!graph.is_op(cast, "cast") || cast->attributes.get<std::string>("dtype", "") != "float32") continue;
    ScaledSums found;
    if (find_sums(graph, imported, cast->inputs[0], found) &&
        find_factor(graph, imported, multiply->inputs[1 - i], found))
      return found;
  }
  return std::nullopt;
}

std::shared_ptr<nn::Module> layer_of(const ScaledSums& s, int32_t shift) {
  NamedArrays state{{"weight", s.sums->weight}, {"weight_scale", NDArray::from_vector(s.factor)}};
  if (!s.dynamic) {
    std::vector<int32_t> bias = s.bias;
    bias.resize(s.factor.size());
    state.emplace_back("bias", NDArray::from_vector(bias));
  }
  std::shared_ptr<nn::Module> layer = s.dynamic ? dynamic_layer(s) : static_layer(s, shift);
  layer->load_state(state);
  return layer;
}

}  // namespace thimble::onnx
