#include <algorithm>
#include <unordered_set>

#include <thimble/nn/graph/attribute_inputs.h>

namespace thimble::nn {

std::vector<std::string> attribute_inputs(const Node& node) {
  std::vector<std::string> names;
  if (!node.attributes.contains(kAttributeInputs)) return names;
  const auto text = node.attributes.get<std::string>(kAttributeInputs);
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    names.push_back(text.substr(begin, end - begin));
    check<FormatError>(!names.back().empty(), "graph: '", kAttributeInputs, "' of '", node.name, "' has an empty name");
    begin = end + 1;
  }
  check<FormatError>(names.size() < node.inputs.size(), "graph: '", node.name, "' has ", node.inputs.size(),
                     " inputs, of which ", names.size(), " are attributes; there must be others");
  return names;
}

std::span<Node* const> operands_of(const Node& node) {
  return std::span(node.inputs).first(node.inputs.size() - attribute_inputs(node).size());
}

Attributes without_attribute_inputs(const Attributes& attributes) {
  Attributes others;
  for (const auto& [key, value] : attributes)
    if (key != kAttributeInputs) others.set(key, value);
  return others;
}

std::vector<bool> inputs_that_are_attributes(const Graph& graph) {
  const std::vector<Node*> nodes = graph.nodes();
  std::unordered_set<const Node*> needed;  // by value
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    const Node* node = *it;
    const size_t operands = operands_of(*node).size();
    const bool is_needed = needed.contains(node) && !graph.is_op(node, "shape");  // whose values are sizes
    for (size_t i = 0; i < node->inputs.size(); ++i)
      if (is_needed || i >= operands) needed.insert(node->inputs[i]);
  }
  std::vector<bool> found;
  for (const Node* input : graph.inputs()) found.push_back(needed.contains(input));
  return found;
}

}  // namespace thimble::nn
