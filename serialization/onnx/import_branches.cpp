// If: graphs inside of nodes.
#include <algorithm>

#include <thimble/nn/layers/conditional.h>
#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

// Numbers of the layer's inputs that a branch reads. Those that are not among them yet are added.
std::vector<int64_t> numbers_among(std::vector<Value>& inputs, const Subgraph& branch) {
  std::vector<int64_t> numbers;
  for (const Value& value : branch.captured) {
    auto at = std::ranges::find(inputs, value.node, &Value::node);
    if (at == inputs.end()) at = inputs.insert(inputs.end(), value);
    numbers.push_back(at - inputs.begin());
  }
  return numbers;
}

Subgraph branch_of(Importer& importer, const OnnxNode& node, const std::string& key, const Value& condition) {
  Subgraph branch = importer.import_subgraph(node, key);
  node.require(branch.ranks.size() == node.num_outputs(), "the graph '", key, "' has ", branch.ranks.size(),
               " outputs, the node ", node.num_outputs());
  if (branch.captured.empty()) {  // a graph has inputs
    branch.graph.add_input("condition");
    branch.captured.push_back(condition);
  }
  return branch;
}

// Of the graph, and of those in its layers.
double nodes_in(const nn::Graph& graph) {
  auto count = static_cast<double>(graph.nodes().size());
  for (const auto& [name, layer] : graph.children())
    if (const auto* owner = dynamic_cast<const nn::OwnsGraphs*>(layer.get()))
      for (const nn::Graph* inner : owner->graphs()) count += nodes_in(*inner);
  return count;
}

// Outputs of graphs within graphs are copied once more at each level.
nn::Graph with_output(Importer& importer, const nn::Graph& graph, size_t output) {
  importer.hold(ImportBudget::kNode * nodes_in(graph));
  nn::Graph part = graph.clone();
  part.set_outputs({part.outputs()[output]});
  part.eliminate_dead_nodes();
  return part;
}

// A layer for each output, of the parts of both graphs that compute it.
void branches(Importer& importer, const OnnxNode& node) {
  const Value condition = importer.input(node, 0);
  if (condition.constant.defined()) {
    node.require(condition.constant.numel() == 1, "its condition has ", condition.constant.numel(), " elements");
    const bool holds = condition.constant.reshape({1}).to(DType::bool_).item<bool>();
    node.graph(holds ? "else_branch" : "then_branch");  // is not needed
    return importer.inline_subgraph(node, holds ? "then_branch" : "else_branch");
  }
  const Subgraph then_branch = branch_of(importer, node, "then_branch", condition),
                 else_branch = branch_of(importer, node, "else_branch", condition);
  std::vector<Value> inputs{condition};
  const nn::Conditional::Inputs numbers{numbers_among(inputs, then_branch), numbers_among(inputs, else_branch)};
  for (size_t i = 0; i < node.num_outputs(); ++i) {
    if (node.output(i).empty()) continue;
    auto layer = std::make_shared<nn::Conditional>(with_output(importer, then_branch.graph, i),
                                                   with_output(importer, else_branch.graph, i), numbers);
    const int rank = then_branch.ranks[i] == else_branch.ranks[i] ? then_branch.ranks[i] : -1;
    importer.set(node, i, importer.call(node, std::move(layer), inputs, rank));
  }
}

}  // namespace

void add_branches(Handlers& handlers) { handlers.emplace("If", branches); }

}  // namespace thimble::onnx
