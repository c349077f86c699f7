#include <algorithm>
#include <optional>
#include <unordered_set>
#include <vector>

#include <thimble/core/autograd.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/quant/passes/fold_sizes.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

constexpr int64_t kMostInputElements = int64_t{1} << 24;  // of an input: a file may ask for any size

// Nodes that compute with sizes and constants alone.
std::unordered_set<const Node*> nodes_of_sizes_alone(const Graph& graph) {
  std::unordered_set<const Node*> found;
  for (const Node* node : graph.nodes()) {
    const auto is_known = [&](const Node* input) { return input->kind == Node::Kind::tensor || found.contains(input); };
    if (node->kind != Node::Kind::op) continue;
    if (graph.is_op(node, "shape") || (!node->inputs.empty() && std::ranges::all_of(node->inputs, is_known)))
      found.insert(node);
  }
  return found;
}

// Of those, what others compute with. Attributes, the shape of a reshape say, stay as they are.
std::unordered_set<const Node*> operands_of_sizes(const Graph& graph) {
  const std::unordered_set<const Node*> of_sizes = nodes_of_sizes_alone(graph);
  std::unordered_set<const Node*> found;
  for (const Node* node : graph.nodes()) {
    if (of_sizes.contains(node) || node->inputs.empty()) continue;
    for (Node* operand : nn::operands_of(*node))
      if (of_sizes.contains(operand)) found.insert(operand);
  }
  return found;
}

// A size of an input's sample that is to be twice what the input remembers; none: all of them.
struct Doubled {
  const Node* input = nullptr;
  size_t dimension = 0;
};

// What an input remembers, of this batch; empty if it remembers nothing.
std::optional<Tensor> ones_for(const Graph& graph, const Node* input, int64_t batch,
                               const std::optional<Doubled>& doubled) {
  if (const Tensor known = graph.default_of(input); known.defined()) return known;
  const std::optional<nn::Sample> sample = nn::sample_of(*input);
  if (!sample) return std::nullopt;
  Shape shape = sample->shape;
  for (size_t d = 0; doubled && d < static_cast<size_t>(shape.ndim()); ++d)
    if (!doubled->input || (doubled->input == input && doubled->dimension == d)) shape[static_cast<int>(d)] *= 2;
  shape.insert(0, batch);
  if (NDArray::placeholder(shape).numel() > kMostInputElements) return std::nullopt;
  return NDArray::full(shape, 1, sample->dtype);
}

// The values of all nodes for ones as inputs; none if the graph cannot say.
std::vector<Tensor> values_for_ones(Graph& graph, int64_t batch, const std::optional<Doubled>& doubled = std::nullopt) {
  const NoGrad guard;
  try {
    std::vector<Tensor> inputs;
    for (const Node* input : graph.inputs()) {
      const std::optional<Tensor> ones = ones_for(graph, input, batch, doubled);
      if (!ones) return {};
      inputs.push_back(*ones);
    }
    return graph.run_all(inputs);
  } catch (const Error&) {
    return {};
  }
}

// The values for other sizes of the inputs: of each one alone, and of all. A graph that refuses some has them fixed.
std::vector<std::vector<Tensor>> values_of_other_sizes(Graph& graph) {
  std::vector<std::optional<Doubled>> choices{Doubled()};
  for (const Node* input : graph.inputs())
    if (const auto sample = nn::sample_of(*input); sample && !graph.default_of(input).defined())
      for (size_t d = 0; d < static_cast<size_t>(sample->shape.ndim()); ++d) choices.emplace_back(Doubled{input, d});
  std::vector<std::vector<Tensor>> values{values_for_ones(graph, 2)};
  for (const std::optional<Doubled>& doubled : choices)
    if (std::vector<Tensor> others = values_for_ones(graph, 1, doubled); !others.empty())
      values.push_back(std::move(others));
  return values;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         a.data().to_vector<double>() == b.data().to_vector<double>();
}

}  // namespace

nn::Graph fold_sizes(const nn::Graph& graph) {
  Graph folded = graph.clone();
  const std::unordered_set<const Node*> wanted = operands_of_sizes(folded);
  if (wanted.empty()) return folded;
  Graph runner = graph.clone();
  runner.eval();
  const std::vector<Tensor> values = values_for_ones(runner, 1);
  const std::vector<std::vector<Tensor>> others = values_of_other_sizes(runner);
  const std::vector<Node*> nodes = folded.nodes();
  if (values.size() != nodes.size() || others[0].size() != nodes.size()) return folded;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto is_same = [&](const std::vector<Tensor>& other) { return same(values[i], other[i]); };
    if (wanted.contains(nodes[i]) && values[i].numel() == 1 && std::ranges::all_of(others, is_same))
      folded.replace_by_tensor(nodes[i], Tensor(values[i].data().contiguous()));
  }
  folded.eliminate_dead_nodes();
  folded.verify();
  return folded;
}

}  // namespace thimble::quant
