#include <algorithm>
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

constexpr int64_t kMostElements = int64_t{1} << 24;  // of an input: a file may ask for any size

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
std::vector<Node*> operands_of_sizes(const Graph& graph) {
  const std::unordered_set<const Node*> of_sizes = nodes_of_sizes_alone(graph);
  std::vector<Node*> found;
  for (const Node* node : graph.nodes()) {
    if (of_sizes.contains(node) || node->inputs.empty()) continue;
    for (Node* operand : nn::operands_of(*node))
      if (of_sizes.contains(operand) && !std::ranges::count(found, operand)) found.push_back(operand);
  }
  return found;
}

// Empty if an input does not say what it is like.
std::vector<Tensor> ones_for(const Graph& graph, int64_t batch) {
  std::vector<Tensor> inputs;
  for (const Node* input : graph.inputs()) {
    if (const Tensor known = graph.default_of(input); known.defined()) {
      inputs.push_back(known);
      continue;
    }
    const std::optional<nn::Sample> sample = nn::sample_of(*input);
    if (!sample) return {};
    Shape shape = sample->shape;
    shape.insert(0, batch);
    if (NDArray::placeholder(shape).numel() > kMostElements) return {};
    inputs.emplace_back(NDArray::full(shape, 1, sample->dtype));
  }
  return inputs;
}

// The values of all nodes for a batch; none if the graph cannot say.
std::vector<Tensor> values_of(Graph& graph, int64_t batch) {
  const NoGrad guard;
  const std::vector<Tensor> inputs = ones_for(graph, batch);
  try {
    return inputs.empty() ? inputs : graph.run_all(inputs);
  } catch (const Error&) {
    return {};
  }
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         a.data().to_vector<double>() == b.data().to_vector<double>();
}

}  // namespace

nn::Graph fold_sizes(const nn::Graph& graph) {
  Graph folded = graph.clone();
  const std::vector<Node*> wanted = operands_of_sizes(folded);
  if (wanted.empty()) return folded;
  Graph runner = graph.clone();
  runner.eval();
  const std::vector<Tensor> of_one = values_of(runner, 1), of_two = values_of(runner, 2);
  const std::vector<Node*> nodes = folded.nodes();
  if (of_one.size() != nodes.size() || of_two.size() != nodes.size()) return folded;
  for (size_t i = 0; i < nodes.size(); ++i)
    if (std::ranges::count(wanted, nodes[i]) > 0 && same(of_one[i], of_two[i]))
      folded.replace_by_tensor(nodes[i], Tensor(of_one[i].data().contiguous()));
  folded.eliminate_dead_nodes();
  folded.verify();
  return folded;
}

}  // namespace thimble::quant
