#include <algorithm>

#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/quant/layers/quantized_group_norm.h>
#include <thimble/quant/layers/quantized_layer_norm.h>
#include <thimble/quant/layers/quantized_matmul.h>
#include <thimble/quant/layers/quantized_mean.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/layers/quantized_softmax.h>
#include <thimble/quant/passes/integer_forms.h>
#include <thimble/quant/passes/node_roles.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

using Inputs = std::span<const TensorQParams>;

std::shared_ptr<nn::Module> quantized_add(const Graph& graph, const Node* node, Inputs x, const TensorQParams& y) {
  return std::make_shared<QuantizedAdd>(x[0], x[1], y, graph.is_op(node, "add_relu"));
}

template <typename Layer>
std::shared_ptr<nn::Module> of_two(const Graph&, const Node*, Inputs x, const TensorQParams& y) {
  return std::make_shared<Layer>(x[0], x[1], y);
}

std::shared_ptr<nn::Module> quantized_softmax(const Graph&, const Node* node, Inputs x, const TensorQParams& y) {
  return std::make_shared<QuantizedSoftmax>(node->attributes.get<int64_t>("axis", -1), x[0], y);
}

std::shared_ptr<nn::Module> quantized_mean(const Graph&, const Node* node, Inputs x, const TensorQParams& y) {
  const auto axes = node->attributes.get("axes", std::vector<int64_t>{});
  return std::make_shared<QuantizedMean>(Shape(axes), node->attributes.get("keepdim", false), x[0], y);
}

std::shared_ptr<nn::Module> quantized_layer_norm(const Graph& graph, const Node* node, Inputs x,
                                                 const TensorQParams& y) {
  return QuantizedLayerNorm::from_float(*graph.layer_as<nn::LayerNorm>(node), x[0], y);
}

std::shared_ptr<nn::Module> quantized_group_norm(const Graph& graph, const Node* node, Inputs x,
                                                 const TensorQParams& y) {
  return QuantizedGroupNorm::from_float(*graph.layer_as<nn::GroupNorm>(node), x[0], y);
}

bool can_be_layer_norm(const Graph& graph, const Node* node) {
  return QuantizedLayerNorm::can_be_made_of(*graph.layer_as<nn::LayerNorm>(node));
}

constexpr IntegerForm kForms[] = {
    {"GroupNorm", 1, quantized_group_norm},
    {"LayerNorm", 1, quantized_layer_norm, can_be_layer_norm},
    {"add", 2, quantized_add},
    {"add_relu", 2, quantized_add},
    {"matmul", 2, of_two<QuantizedMatMul>},
    {"maximum", 2, of_two<QuantizedMaximum>},
    {"mean", 1, quantized_mean},
    {"minimum", 2, of_two<QuantizedMinimum>},
    {"mul", 2, of_two<QuantizedMul>},
    {"softmax", 1, quantized_softmax},
    {"sub", 2, of_two<QuantizedSub>},
};

}  // namespace

const IntegerForm* integer_form_of(const Graph& graph, const Node* node) {
  const bool computes = node->kind == Node::Kind::op || node->kind == Node::Kind::layer;
  if (!computes || node->attributes.contains(nn::kAttributeInputs)) return nullptr;
  const std::string type = type_of(graph, node);
  const auto* form = std::ranges::find(kForms, std::string_view(type), &IntegerForm::type);
  if (form == std::end(kForms) || form->inputs != node->inputs.size()) return nullptr;
  return !form->can_be || form->can_be(graph, node) ? form : nullptr;
}

}  // namespace thimble::quant
