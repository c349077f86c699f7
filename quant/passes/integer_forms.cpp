#include <algorithm>

#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/quant/layers/quantized_ops.h>
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

std::shared_ptr<nn::Module> quantized_mul(const Graph&, const Node*, Inputs x, const TensorQParams& y) {
  return std::make_shared<QuantizedMul>(x[0], x[1], y);
}

constexpr IntegerForm kForms[] = {
    {"add", 2, quantized_add},
    {"add_relu", 2, quantized_add},
    {"mul", 2, quantized_mul},
};

}  // namespace

const IntegerForm* integer_form_of(const Graph& graph, const Node* node) {
  const bool computes = node->kind == Node::Kind::op || node->kind == Node::Kind::layer;
  if (!computes || node->attributes.contains(nn::kAttributeInputs)) return nullptr;
  const std::string type = type_of(graph, node);
  const auto* form = std::ranges::find(kForms, std::string_view(type), &IntegerForm::type);
  return form != std::end(kForms) && form->inputs == node->inputs.size() ? form : nullptr;
}

}  // namespace thimble::quant
