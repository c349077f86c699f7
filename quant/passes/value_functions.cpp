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
      "abs",      "acos",    "acosh",  "add",     "add_relu", "asin",      "asinh",       "atan",      "atanh",
      "ceil",     "celu",    "clamp",  "cos",     "cosh",     "div",       "elu",         "erf",       "exp",
      "expm1",    "floor",   "gelu",   "log",     "log1p",    "gelu_tanh", "hardsigmoid", "hardswish", "leaky_relu",
      "maximum",  "minimum", "mish",   "mul",     "neg",      "pow",       "prelu",       "relu",      "relu6",
      "round",    "selu",    "shrink", "sigmoid", "sign",     "silu",      "sin",         "sinh",      "softplus",
      "softsign", "sqrt",    "sub",    "tan",     "tanh",     "threshold"};
  return node->kind == Node::Kind::op && !node->attributes.contains(nn::kAttributeInputs) &&
         std::ranges::count(kOps, node->target) > 0;
}

// What is known of each node without running the graph.
struct KnownNode {
  size_t place = 0;  // in the graph's order
  bool is_pointwise = false;
  int least_rank = 1;  // dimensions that its value has at least
};
using KnownNodes = std::unordered_map<const Node*, KnownNode>;

KnownNodes known_nodes(const Graph& graph) {
  KnownNodes known;
  for (const Node* node : graph.nodes()) {
    KnownNode entry{.place = known.size(), .is_pointwise = is_pointwise(node)};
    if (entry.is_pointwise) {
      for (const Node* input : node->inputs)
        if (input->kind != Node::Kind::tensor)
          entry.least_rank = std::max(entry.least_rank, known.at(input).least_rank);
    } else if (type_of(graph, node).find("2d") != std::string::npos) {
      entry.least_rank = 4;  // convolutions, pools, normalizations of images
    }
    known.emplace(node, entry);
  }
  return known;
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
  FunctionSearch(const Graph& graph, const KnownNodes& known, Node* result) : graph_(graph), known_(known) {
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
      const auto last = std::ranges::max_element(open_, {}, [&](const Node* node) { return known_.at(node).place; });
      if (last == open_.end() || !can_take(*last)) break;
      Node* node = *last;
      open_.erase(last);
      take(node);
    }
    if (best.empty()) return {};
    std::ranges::sort(best, {}, [&](const Node* node) { return known_.at(node).place; });
    const auto reads = [&](const Node* node) { return std::ranges::count(node->inputs, source) > 0; };
    Node* reader = *std::ranges::find_if(best, reads);  // ops of constants alone may stand in front
    const auto input = std::ranges::find(reader->inputs, source) - reader->inputs.begin();
    return {std::move(best), reader, static_cast<size_t>(input)};
  }

 private:
  void take(Node* node) {
    taken_.push_back(node);
    const int rank = known_.at(node).least_rank;
    for (Node* input : node->inputs)
      if (!is_number(graph_, input, rank) && !std::ranges::count(open_, input)) open_.push_back(input);
  }

  bool can_take(const Node* node) const {
    if (!known_.at(node).is_pointwise || is_marked(node) || graph_.is_output(node) || taken_.size() >= kMostOps)
      return false;
    return std::ranges::all_of(graph_.users(node), [&](const Node* user) { return std::ranges::count(taken_, user); });
  }

  static constexpr size_t kMostOps = 64;  // spelled-out functions have ten; so that a long chain takes no time

  const Graph& graph_;
  const KnownNodes& known_;
  std::vector<Node*> taken_, open_;
};

}  // namespace

ValueFunctions::ValueFunctions(const Graph& graph) {
  const std::vector<Node*> nodes = graph.nodes();
  const KnownNodes known = known_nodes(graph);
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    if (!known.at(*node).is_pointwise || index_.contains(*node)) continue;
    ValueFunction function = FunctionSearch(graph, known, *node).largest();
    const auto bounds = [&](const Node* part) { return is_clamp(graph, part); };
    if (!function.reader || std::ranges::all_of(function.nodes, bounds)) continue;
    for (const Node* part : function.nodes) index_[part] = functions_.size();
    functions_.push_back(std::move(function));
  }
}

bool ValueFunctions::may_be_part(const Node* node) { return is_pointwise(node); }

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
