#include <algorithm>
#include <unordered_map>

#include <thimble/nn/graph/node_call.h>
#include <thimble/nn/graph/passes.h>

namespace thimble::nn {

namespace {

// Computes the nodes that depend on tensors alone.
class ConstantFolder {
 public:
  explicit ConstantFolder(Graph& graph) : graph_(graph) {
    for (Node* node : graph.nodes())
      if (is_constant(node)) values_.emplace(node, value_of(node));
  }

  // Nodes between constants only are left dead.
  void fold() {
    for (Node* node : graph_.nodes())
      if (node->kind != Node::Kind::tensor && values_.contains(node) && is_wanted(node))
        graph_.replace_by_tensor(node, values_.at(node).data().clone());
  }

 private:
  bool is_constant(const Node* node) const {
    switch (node->kind) {
      case Node::Kind::input:
        return false;
      case Node::Kind::tensor:
        return !is_trained(graph_.tensor(node));
      case Node::Kind::layer:
        return inputs_are_constant(node) && is_constant(graph_.layer(node));
      case Node::Kind::op:
        return inputs_are_constant(node) && node->target != "dropout";
    }
    return false;
  }

  bool is_constant(const Module& layer) const {
    return !layer.training() && !layer.has_side_effects() &&
           std::ranges::none_of(layer.parameters(), [&](const Tensor& p) { return is_trained(p); });
  }

  bool is_trained(const Tensor& tensor) const { return graph_.training() && tensor.requires_grad(); }

  bool inputs_are_constant(const Node* node) const {
    return std::ranges::all_of(node->inputs, [&](const Node* input) { return values_.contains(input); });
  }

  Tensor value_of(const Node* node) const {
    if (node->kind == Node::Kind::tensor) return graph_.tensor(node);
    std::vector<Tensor> inputs;
    for (const Node* input : node->inputs) inputs.push_back(values_.at(input));
    return NodeCall(graph_, *node)(inputs);
  }

  bool is_wanted(const Node* node) const {
    return graph_.is_output(node) ||
           std::ranges::any_of(graph_.users(node), [&](const Node* user) { return !values_.contains(user); });
  }

  Graph& graph_;
  std::unordered_map<const Node*, Tensor> values_;  // of nodes that do not depend on the input
};

}  // namespace

Graph eliminate_dead_nodes(const Graph& graph) {
  Graph result = graph.clone();
  result.eliminate_dead_nodes();
  result.verify();
  return result;
}

Graph fold_constants(const Graph& graph) {
  const NoGrad guard;
  Graph result = graph.clone();
  result.verify();
  ConstantFolder(result).fold();
  result.eliminate_dead_nodes();
  result.verify();
  return result;
}

}  // namespace thimble::nn
