#include <algorithm>
#include <iterator>

#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/core/text_wrap.h>
#include <thimble/nn/graph/graph.h>

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

struct Default {
  std::string_view key;
  double value;  // of a number, of all in a list, or of a boolean
};
constexpr Default kDefaults[] = {{"affine", 1},         {"bias", 1},
                                 {"ceil_mode", 0},      {"count_include_pad", 1},
                                 {"dilation", 1},       {"elementwise_affine", 1},
                                 {"eps", 1e-5},         {"groups", 1},
                                 {"keepdim", 0},        {"momentum", 0.1},
                                 {"output_padding", 0}, {"padding", 0},
                                 {"relu", 0},           {"stride", 1}};

bool is_everywhere(const Attribute& attribute, double wanted) {
  const auto equal = [wanted](auto value) { return static_cast<double>(value) == wanted; };
  if (const auto* flag = std::get_if<bool>(&attribute)) return equal(*flag);
  if (const auto* integer = std::get_if<int64_t>(&attribute)) return equal(*integer);
  if (const auto* number = std::get_if<double>(&attribute)) return equal(*number);
  const auto* list = std::get_if<std::vector<int64_t>>(&attribute);
  return list && std::ranges::all_of(*list, equal);
}

Attributes without_defaults(const Attributes& all) {
  const bool is_pool = all.contains("kernel_size") && !all.contains("groups");  // whose stride is its kernel by default
  Attributes shown;
  for (const auto& [key, value] : all) {
    const auto* known = std::ranges::find(kDefaults, std::string_view(key), &Default::key);
    const bool has_default = known != std::end(kDefaults) && is_everywhere(value, known->value);
    if (!has_default || (is_pool && key == "stride")) shown.set(key, value);
  }
  return shown;
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
              str(without_defaults(is_call ? layer(node).attributes() : node->attributes))});
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
