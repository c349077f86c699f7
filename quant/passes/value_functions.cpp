#include <algorithm>
#include <string_view>
#include <unordered_set>

#include <thimble/core/op.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/value_functions.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

bool is_pointwise(const Node* node) {
  constexpr std::string_view kOps[] = {
      "abs",    "acos",    "acosh", "add",       "add_relu",    "asin",      "asinh",      "atan",     "atanh",
      "ceil",   "celu",    "clamp", "cos",       "cosh",        "div",       "elu",        "erf",      "exp",
      "floor",  "gelu",    "log",   "gelu_tanh", "hardsigmoid", "hardswish", "leaky_relu", "maximum",  "minimum",
      "mish",   "mul",     "neg",   "pow",       "prelu",       "relu",      "relu6",      "round",    "selu",
      "shrink", "sigmoid", "sign",  "silu",      "sin",         "sinh",      "softplus",   "softsign", "sqrt",
      "sub",    "tan",     "tanh",  "threshold"};
  return node->kind == Node::Kind::op && !node->attributes.contains(nn::kAttributeInputs) &&
         std::ranges::count(kOps, node->target) > 0;
}

// The value's dimensions, or fewer: as many as are known without running the graph.
int least_rank(const Graph& graph, const Node* value) {
  while (is_pointwise(value)) {
    const auto is_value = [](const Node* input) { return input->kind != Node::Kind::tensor; };
    const auto input = std::ranges::find_if(value->inputs, is_value);
    if (input == value->inputs.end()) break;
    value = *input;
  }
  return type_of(graph, value).find("2d") == std::string::npos ? 1 : 4;  // convolutions, pools, norms of images
}

// A number, which does not give the result more dimensions than the source has.
bool is_number(const Graph& graph, const Node* node, int rank) {
  if (node->kind != Node::Kind::tensor) return false;
  const Tensor value = graph.tensor(node);
  return value.numel() == 1 && value.ndim() <= rank;
}

// Looks for the largest function that ends at a node, from its result backward.
class FunctionSearch {
 public:
  FunctionSearch(const Graph& graph, const std::unordered_map<const Node*, size_t>& order, Node* result)
      : graph_(graph), order_(order) {
    take(result);
  }

  // As long as what the nodes taken so far read is one value, it may be the source; looking further never makes a
  // smaller function.
  ValueFunction largest() {
    std::vector<Node*> best;
    const Node* source = nullptr;
    for (;;) {
      if (open_.size() == 1) {
        best = taken_;
        source = open_[0];
      }
      const auto last = std::ranges::max_element(open_, {}, [&](const Node* node) { return order_.at(node); });
      if (last == open_.end() || !can_take(*last)) break;
      Node* node = *last;
      open_.erase(last);
      take(node);
    }
    if (best.empty()) return {};
    std::ranges::sort(best, {}, [&](const Node* node) { return order_.at(node); });
    const std::vector<Node*>& inputs = best.front()->inputs;
    return {best, static_cast<size_t>(std::ranges::find(inputs, source) - inputs.begin())};
  }

 private:
  void take(Node* node) {
    taken_.push_back(node);
    const int rank = least_rank(graph_, node);
    for (Node* input : node->inputs)
      if (!is_number(graph_, input, rank) && !std::ranges::count(open_, input)) open_.push_back(input);
  }

  bool can_take(const Node* node) const {
    if (!is_pointwise(node) || is_marked(node) || graph_.is_output(node) || taken_.size() >= kMostOps) return false;
    return std::ranges::all_of(graph_.users(node), [&](const Node* user) { return std::ranges::count(taken_, user); });
  }

  static constexpr size_t kMostOps = 64;  // spelled-out functions have ten; so that a long chain takes no time

  const Graph& graph_;
  const std::unordered_map<const Node*, size_t>& order_;
  std::vector<Node*> taken_, open_;
};

}  // namespace

ValueFunctions::ValueFunctions(const Graph& graph) {
  const std::vector<Node*> nodes = graph.nodes();
  std::unordered_map<const Node*, size_t> order;
  for (size_t i = 0; i < nodes.size(); ++i) order[nodes[i]] = i;
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    if (!is_pointwise(*node) || index_.contains(*node)) continue;
    ValueFunction function = FunctionSearch(graph, order, *node).largest();
    const auto bounds = [&](const Node* part) { return is_clamp(graph, part); };
    if (std::ranges::all_of(function.nodes, bounds)) continue;
    for (const Node* part : function.nodes) index_[part] = functions_.size();
    functions_.push_back(std::move(function));
  }
}

const ValueFunction* ValueFunctions::of(const Node* result) const {
  const ValueFunction* function = around(result);
  return function && function->result() == result ? function : nullptr;
}

const ValueFunction* ValueFunctions::around(const Node* node) const {
  const auto it = index_.find(node);
  return it == index_.end() ? nullptr : &functions_[it->second];
}

Tensor values_at(const Graph& graph, const ValueFunction& function, const Tensor& x) {
  const NoGrad guard;
  std::unordered_map<const Node*, Tensor> values{{function.source(), x}};
  for (const Node* node : function.nodes) {
    std::vector<Tensor> inputs;
    for (const Node* input : node->inputs)
      inputs.push_back(values.contains(input) ? values.at(input) : graph.tensor(input));
    values[node] = apply(make_op(node->target, without_marks(node->attributes)), std::move(inputs));
  }
  return values.at(function.result());
}

bool alone_reads_source(const Graph& graph, const ValueFunction& function) {
  return !graph.is_output(function.source()) &&
         std::ranges::all_of(readers_of(graph, function.source()),
                             [&](const Node* user) { return std::ranges::count(function.nodes, user); });
}

}  // namespace thimble::quant
