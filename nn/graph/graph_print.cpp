#include <algorithm>

#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/core/text_wrap.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/module_text.h>

namespace thimble::nn {

namespace {

std::string input_names(const Node* node) {
  std::string names;
  for (const Node* input : node->inputs) names += (names.empty() ? "" : ", ") + input->name;
  return names;
}

// "output: add", or "outputs: boxes = concat, scores = sigmoid".
std::string output_names(const std::vector<GraphOutput>& outputs) {
  std::string names;
  for (const GraphOutput& output : outputs) {
    const std::string node = output.node->name == output.name ? "" : " = " + output.node->name;
    names += (names.empty() ? "" : ", ") + thimble::detail::printable(output.name + node);
  }
  return (outputs.size() > 1 ? "outputs: " : "output: ") + (names.empty() ? "none" : names);
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

std::string Graph::table() const {
  using thimble::detail::TextTable;
  constexpr size_t kWidth = 100;
  TextTable rows({"name", "kind", "type", "inputs", "attributes"}, TextTable::Align::left);
  for (const Node* node : nodes()) {
    const bool is_call = node->kind == Node::Kind::layer;
    std::string type = is_call ? layer(node).type() : node->kind == Node::Kind::op ? node->target : "";
    // A second call of a layer says whose layer it is.
    if (is_call && node->target != node->name) type += " (" + node->target + ')';
    rows.add({node->name, std::string(nn::name(node->kind)), type, input_names(node),
              str(detail::without_defaults(is_call ? layer(node).attributes() : node->attributes))});
  }
  std::string table = rows.str(kWidth);
  for (const std::string& line : thimble::detail::wrapped(output_names(outputs_), kWidth)) table += line + '\n';
  return table;
}

std::string Graph::dot() const {
  std::string out = "digraph {\n  node [shape=box];\n";
  for (const Node* node : nodes()) {
    const bool is_call = node->kind == Node::Kind::layer;
    const std::string type = is_call ? layer(node).type() : node->kind == Node::Kind::op ? node->target : "";
    const std::string label = quoted(node->name + (type.empty() ? "" : ": " + type));
    out += "  " + quoted(node->name) + " [label=" + label + (node->kind == Node::Kind::input ? ", shape=oval" : "") +
           (is_output(node) ? ", peripheries=2" : "") + "];\n";
    for (const Node* input : node->inputs) out += "  " + quoted(input->name) + " -> " + quoted(node->name) + ";\n";
  }
  return out + "}\n";
}

}  // namespace thimble::nn
