#include <algorithm>
#include <cmath>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include <thimble/core/text.h>
#include <thimble/serialization/attributes_json.h>
#include <thimble/serialization/graph_json.h>

namespace thimble::detail {

namespace {

using nlohmann::json;
using nn::Node;

// Files from strangers: beyond any real graph, and few and short enough to load within seconds.
constexpr size_t kMaxNodes = 65536;
constexpr size_t kLongestText = 256;
constexpr int kMaxDepth = 16;
// Parameters with requires_grad() false, of a layer's entry or a tensor's node. Since 1.2; absent where there are none.
constexpr const char* kFrozen = "frozen";

// Names are printed in tables and in the messages of errors for as long as the graph lives: nothing that a terminal
// would obey, and no end of text, comes in. What could not be loaded is not saved either.
template <typename E>
const std::string& checked_text(const std::string& text) {
  check<E>(printable(text, kLongestText) == text, "graph: the text ", quote(text),
           " holds control characters, is not UTF-8 or is longer than ", kLongestText, " bytes");
  return text;
}

bool is_nan(double value) { return std::isnan(value); }

bool holds_nan(const Attribute& value) {
  if (const auto* number = std::get_if<double>(&value)) return is_nan(*number);
  const auto* list = std::get_if<std::vector<double>>(&value);
  return list && std::ranges::any_of(*list, is_nan);
}

// What a run has measured may be NaN; what a graph computes with, a scale or an eps, may not: it would pass every check
// that asks for too small and for too large.
template <typename E>
const Attributes& checked_attributes(const Attributes& attributes) {
  for (const auto& [key, value] : attributes) {
    checked_text<E>(key);
    if (const auto* text = std::get_if<std::string>(&value)) checked_text<E>(*text);
    check<E>(!holds_nan(value), "graph: attribute ", quote(key), " is NaN");
  }
  return attributes;
}

// Before the parser sees the text: its callback, which knows the depth too, looks at all of a list after each entry.
void check_depth(const std::string& text, const char* what) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\') ++i;
    if (in_string) continue;
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    check<FormatError>(depth <= kMaxDepth, what, ": JSON nested deeper than ", kMaxDepth);
  }
}

json parse(const std::string& text, const char* what) {
  check_depth(text, what);
  try {
    return json::parse(text);
  } catch (const json::exception& e) {
    throw FormatError(str(what, ": not valid JSON (error ", e.id, ")"));
  }
}

const json& member(const json& object, const char* key) {
  check<FormatError>(object.is_object(), "graph: expected an object with a member '", key, "'");
  const auto it = object.find(key);
  check<FormatError>(it != object.end(), "graph: the member '", key, "' is missing");
  return *it;
}

const std::string& text_member(const json& object, const char* key) {
  const json& value = member(object, key);
  check<FormatError>(value.is_string(), "graph: '", key, "' is not a string");
  return checked_text<FormatError>(value.get_ref<const std::string&>());
}

Attributes attributes_member(const json& object) {
  return checked_attributes<FormatError>(attributes_from_json(member(object, "attributes")));
}

const json& list_member(const json& object, const char* key) {
  const json& value = member(object, key);
  check<FormatError>(value.is_array() && value.size() <= kMaxNodes, "graph: '", key, "' is not a list of at most ",
                     kMaxNodes, " entries");
  return value;
}

/// Builds a graph from its JSON; the layers come first.
class GraphReader {
 public:
  nn::Graph read(const json& j) {
    read_layers(list_member(j, "layers"));
    for (const json& node : list_member(j, "nodes")) read_node(node);
    graph_.set_output(node_named(text_member(j, "output")));
    graph_.verify();
    return std::move(graph_);
  }

 private:
  void read_layers(const json& list) {
    for (const json& j : list) {
      const std::string& name = text_member(j, "name");
      const auto layer = nn::make_layer(text_member(j, "type"), attributes_member(j));
      freeze(*layer, name, j);
      graph_.register_module(name, layer);
    }
  }

  // What a layer's entry says of the parameters that are not trained; it says nothing where all are.
  static void freeze(nn::Module& layer, const std::string& name, const json& j) {
    if (!j.contains(kFrozen)) return;
    std::unordered_map<std::string, Tensor> parameters;
    for (const auto& [path, parameter] : layer.named_parameters()) parameters.emplace(path, parameter);
    for (const json& path : list_member(j, kFrozen)) {
      const auto found = path.is_string() ? parameters.find(path.get_ref<const std::string&>()) : parameters.end();
      check<FormatError>(found != parameters.end(), "graph: '", kFrozen, "' of layer ", quote(name),
                         " names what is no parameter of it");
      found->second.set_requires_grad(false);
    }
  }

  void read_node(const json& j) {
    const std::string &name = text_member(j, "name"), &kind = text_member(j, "kind"),
                      &target = text_member(j, "target");
    check<FormatError>(!name.empty() && !nodes_.contains(name), "graph: the node name ", quote(name),
                       " is empty or given twice");
    std::vector<Node*> inputs;
    for (const json& input : list_member(j, "inputs")) {
      check<FormatError>(input.is_string(), "graph: an input of ", quote(name), " is not a name");
      inputs.push_back(node_named(input.get_ref<const std::string&>()));
    }
    Attributes attributes = attributes_member(j);
    Node* node = nullptr;
    if (kind == "input")
      node = graph_.add_input(name);
    else if (kind == "op")
      node = graph_.add_op(name, target, std::move(attributes), inputs);
    else if (kind == "tensor")
      node = read_tensor(name, target, attributes);
    else if (kind == "layer")
      node = graph_.add_call(name, target, inputs);
    else
      throw FormatError(str("graph: node ", quote(name), " is of unknown kind ", quote(kind)));
    check<FormatError>(node->inputs == inputs, "graph: node ", quote(name), " of kind ", quote(kind), " has inputs");
    check<FormatError>(node->name == name, "graph: the name ", quote(name), " is used twice");
    if (kind == "layer" || kind == "input") node->attributes = attributes;
    nodes_[name] = node;
  }

  // The tensor is kept under the target; a node that was renamed since has another name.
  Node* read_tensor(const std::string& name, const std::string& target, const Attributes& attributes) {
    const NDArray placeholder = NDArray::placeholder(Shape(attributes.get<std::vector<int64_t>>("shape")),
                                                     dtype_from_name(attributes.get<std::string>("dtype")));
    Node* node = graph_.add_tensor(target, Tensor(placeholder, attributes.get<bool>("parameter")));
    check<FormatError>(node->target == target, "graph: the name of tensor ", quote(target), " is empty or taken");
    if (attributes.get<bool>(kFrozen, false)) graph_.tensor(node).set_requires_grad(false);
    graph_.rename(node, name);
    return node;
  }

  Node* node_named(const std::string& name) const {
    const auto it = nodes_.find(name);
    check<FormatError>(it != nodes_.end(), "graph: there is no node ", quote(name), " before its use");
    return it->second;
  }

  nn::Graph graph_;
  std::unordered_map<std::string, Node*> nodes_;
};

// A tensor's node carries in the file what its array is like.
Attributes tensor_attributes(const Tensor& tensor, bool is_parameter) {
  Attributes a{
      {"shape", tensor.shape().to_vector()}, {"dtype", std::string(name(tensor.dtype()))}, {"parameter", is_parameter}};
  if (is_parameter && !tensor.requires_grad()) a.set(kFrozen, true);
  return a;
}

// json's own braces lose memory when there is not enough for all of it.
json object(std::initializer_list<std::pair<const char*, json>> members) {
  json out = json::object();
  for (const auto& [key, value] : members) out[key] = value;
  return out;
}

json checked_json(const Attributes& attributes) {
  return attributes_to_json(checked_attributes<ValueError>(attributes));
}

json layer_json(const std::string& path, const nn::Module& layer) {
  json j = object({{"name", checked_text<ValueError>(path)},
                   {"type", checked_text<ValueError>(layer.type())},
                   {"attributes", checked_json(layer.attributes())}});
  for (const auto& [name, parameter] : layer.named_parameters())
    if (!parameter.requires_grad()) j[kFrozen].push_back(name);
  return j;
}

}  // namespace

std::string graph_to_json(const nn::Graph& graph) {
  json layers = json::array(), nodes = json::array();
  for (const auto& [path, layer] : graph.children()) layers.push_back(layer_json(path, *layer));
  std::unordered_map<std::string, Attributes> tensors;
  for (auto& [path, tensor] : graph.named_parameters()) tensors.emplace(path, tensor_attributes(tensor, true));
  for (auto& [path, tensor] : graph.named_buffers()) tensors.emplace(path, tensor_attributes(tensor, false));
  for (const Node* node : graph.nodes()) {
    json inputs = json::array();
    for (const Node* input : node->inputs) inputs.push_back(input->name);
    const bool is_tensor = node->kind == Node::Kind::tensor;
    nodes.push_back(object({{"name", checked_text<ValueError>(node->name)},
                            {"kind", nn::name(node->kind)},
                            {"target", checked_text<ValueError>(node->target)},
                            {"inputs", inputs},
                            {"attributes", checked_json(is_tensor ? tensors.at(node->target) : node->attributes)}}));
  }
  return object({{"layers", layers}, {"nodes", nodes}, {"output", graph.output()->name}}).dump();
}

nn::Graph graph_from_json(const std::string& text) { return GraphReader().read(parse(text, "graph")); }

std::string attributes_to_text(const Attributes& attributes) { return attributes_to_json(attributes).dump(); }

Attributes attributes_from_text(const std::string& text) { return attributes_from_json(parse(text, "notes")); }

}  // namespace thimble::detail
