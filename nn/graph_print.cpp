#include <algorithm>
#include <array>

#include <thimble/nn/graph.h>

namespace thimble::nn {

namespace {

using Row = std::array<std::string, 5>;

std::string input_names(const Node* node) {
  std::string names;
  for (const Node* input : node->inputs) names += (names.empty() ? "" : ", ") + input->name;
  return names;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

// Number of characters, not bytes, of UTF-8 text.
size_t width(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string Graph::table() const {
  std::vector<Row> rows{{"name", "kind", "type", "inputs", "attributes"}};
  for (const Node* node : nodes()) {
    const bool is_call = node->kind == Node::Kind::layer;
    std::string type = is_call ? layer(node).type() : node->kind == Node::Kind::op ? node->target : "";
    // A second call of a layer says whose layer it is.
    if (is_call && node->target != node->name) type += " (" + node->target + ')';
    rows.push_back({node->name, std::string(nn::name(node->kind)), type, input_names(node),
                    str(is_call ? layer(node).attributes() : node->attributes)});
  }
  std::array<size_t, 5> widths{};
  for (const Row& row : rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) line += row[c] + std::string(widths[c] - width(row[c]) + 2, ' ');
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out + "output: " + (output_ ? output_->name : "none") + '\n';
}

std::string Graph::dot() const {
  std::string out = "digraph {\n  node [shape=box];\n";
  for (const Node* node : nodes()) {
    const bool is_call = node->kind == Node::Kind::layer;
    const std::string type = is_call ? layer(node).type() : node->kind == Node::Kind::op ? node->target : "";
    const std::string label = quoted(node->name + (type.empty() ? "" : ": " + type));
    out += "  " + quoted(node->name) + " [label=" + label + (node->kind == Node::Kind::input ? ", shape=oval" : "") +
           (node == output_ ? ", peripheries=2" : "") + "];\n";
    for (const Node* input : node->inputs) out += "  " + quoted(input->name) + " -> " + quoted(node->name) + ";\n";
  }
  return out + "}\n";
}

}  // namespace thimble::nn
