#include <algorithm>
#include <cmath>
#include <unordered_map>

#include <thimble/core/text.h>
#include <thimble/nn/graph/owns_graphs.h>
#include <thimble/serialization/attributes_json.h>
#include <thimble/serialization/graph_json.h>
#include <thimble/serialization/json.h>

namespace thimble::detail {

namespace {

using nn::Node;

// Files from strangers: beyond any real graph, and few and short enough to load within seconds.
constexpr size_t kMaxNodes = 65536;
constexpr size_t kLongestText = 256;
// Parameters with requires_grad() false, of a layer's entry or a tensor's node. Since 1.2; absent where there are none.
constexpr const char* kFrozen = "frozen";
// Of a layer with graphs inside (nn/graph/owns_graphs.h). Since 1.3.
constexpr const char* kGraphs = "graphs";

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

const Json& member(const Json& object, const char* key) {
  check<FormatError>(object.is<Json::Object>(), "graph: expected an object with a member '", key, "'");
  const Json* value = object.find(key);
  check<FormatError>(value, "graph: the member '", key, "' is missing");
  return *value;
}

const std::string& text_member(const Json& object, const char* key) {
  const Json& value = member(object, key);
  check<FormatError>(value.is<std::string>(), "graph: '", key, "' is not a string");
  return checked_text<FormatError>(value.get<std::string>());
}

Attributes attributes_member(const Json& object) {
  return checked_attributes<FormatError>(attributes_from_json(member(object, "attributes")));
}

const Json::List& list_member(const Json& object, const char* key) {
  const Json& value = member(object, key);
  check<FormatError>(value.is<Json::List>() && value.get<Json::List>().size() <= kMaxNodes, "graph: '", key,
                     "' is not a list of at most ", kMaxNodes, " entries");
  return value.get<Json::List>();
}

/// Builds a graph from its JSON; the layers come first.
class GraphReader {
 public:
  /// Takes what the layers' tensors are from `tensors_left`, which graphs within layers have in common.
  explicit GraphReader(size_t& tensors_left) : tensors_left_(tensors_left) {}

  nn::Graph read(const Json& j) {
    read_layers(list_member(j, "layers"));
    for (const Json& node : list_member(j, "nodes")) read_node(node);
    read_outputs(j);
    graph_.verify();
    return std::move(graph_);
  }

 private:
  // One output is named by its node where nothing else is said.
  void read_outputs(const Json& j) {
    if (!j.find("outputs")) return graph_.set_output(node_named(text_member(j, "output")));
    std::vector<nn::GraphOutput> outputs;
    for (const Json& output : list_member(j, "outputs"))
      outputs.push_back({text_member(output, "name"), node_named(text_member(output, "node"))});
    graph_.set_outputs(std::move(outputs));
  }

  void read_layers(const Json::List& list) {
    for (const Json& j : list) {
      const std::string& name = text_member(j, "name");
      const auto layer = with_graphs(nn::make_layer(text_member(j, "type"), attributes_member(j)), name, j);
      const size_t tensors = layer->state().size();
      check<FormatError>(tensors <= tensors_left_, "graph: layer ", quote(name), " has ", tensors,
                         " tensors, and with those before it more than there are in the file");
      tensors_left_ -= tensors;
      freeze(*layer, name, j);
      graph_.register_module(name, layer);
    }
  }

  std::shared_ptr<nn::Module> with_graphs(std::shared_ptr<nn::Module> layer, const std::string& name, const Json& j) {
    const auto* owner = dynamic_cast<const nn::OwnsGraphs*>(layer.get());
    check<FormatError>((owner != nullptr) == (j.find(kGraphs) != nullptr), "graph: layer ", quote(name),
                       owner ? " has no '" : " has '", kGraphs, "'");
    if (!owner) return layer;
    std::vector<nn::Graph> graphs;
    for (const Json& graph : list_member(j, kGraphs)) graphs.push_back(GraphReader(tensors_left_).read(graph));
    return owner->with_graphs(std::move(graphs));
  }

  // What a layer's entry says of the parameters that are not trained; it says nothing where all are.
  static void freeze(nn::Module& layer, const std::string& name, const Json& j) {
    if (!j.find(kFrozen)) return;
    std::unordered_map<std::string, Tensor> parameters;
    for (const auto& [path, parameter] : layer.named_parameters()) parameters.emplace(path, parameter);
    for (const Json& path : list_member(j, kFrozen)) {
      const auto found = path.is<std::string>() ? parameters.find(path.get<std::string>()) : parameters.end();
      check<FormatError>(found != parameters.end(), "graph: '", kFrozen, "' of layer ", quote(name),
                         " names what is no parameter of it");
      found->second.set_requires_grad(false);
    }
  }

  void read_node(const Json& j) {
    const std::string &name = text_member(j, "name"), &kind = text_member(j, "kind"),
                      &target = text_member(j, "target");
    check<FormatError>(!name.empty() && !nodes_.contains(name), "graph: the node name ", quote(name),
                       " is empty or given twice");
    std::vector<Node*> inputs;
    for (const Json& input : list_member(j, "inputs")) {
      check<FormatError>(input.is<std::string>(), "graph: an input of ", quote(name), " is not a name");
      inputs.push_back(node_named(input.get<std::string>()));
    }
    Attributes attributes = attributes_member(j);
    Node* node = nullptr;
    if (kind == "input")
      node = read_input(name, target, attributes);
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

  // Since 1.3 it may have a default, which is kept under the target.
  Node* read_input(const std::string& name, const std::string& target, const Attributes& attributes) {
    if (target.empty()) return graph_.add_input(name);
    const NDArray placeholder = NDArray::placeholder(Shape(attributes.get<std::vector<int64_t>>("default_shape")),
                                                     dtype_from_name(attributes.get<std::string>("default_dtype")));
    Node* node = graph_.add_input(target, Tensor(placeholder));
    check<FormatError>(node->target == target, "graph: the name of tensor ", quote(target), " is taken");
    graph_.rename(node, name);
    return node;
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

  size_t& tensors_left_;
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

std::string checked_json(const Attributes& attributes) {
  return attributes_to_json(checked_attributes<ValueError>(attributes));
}

std::string checked_json(const std::string& text) { return json_text(checked_text<ValueError>(text)); }

// Members in alphabetical order, as in all files before.
std::string layer_json(const std::string& path, const nn::Module& layer) {
  std::vector<std::pair<std::string, std::string>> members{{"attributes", checked_json(layer.attributes())}};
  std::vector<std::string> frozen;
  for (const auto& [name, parameter] : layer.named_parameters())
    if (!parameter.requires_grad()) frozen.push_back(json_text(name));
  if (!frozen.empty()) members.emplace_back(kFrozen, json_list(frozen));
  if (const auto* owner = dynamic_cast<const nn::OwnsGraphs*>(&layer)) {
    std::vector<std::string> graphs;
    for (const nn::Graph* graph : owner->graphs()) graphs.push_back(graph_to_json(*graph));
    members.emplace_back(kGraphs, json_list(graphs));
  }
  members.emplace_back("name", checked_json(path));
  members.emplace_back("type", checked_json(layer.type()));
  return json_object(members);
}

std::string node_json(const Node& node, const Attributes& attributes) {
  std::vector<std::string> inputs;
  for (const Node* input : node.inputs) inputs.push_back(json_text(input->name));
  return json_object({{"attributes", checked_json(attributes)},
                      {"inputs", json_list(inputs)},
                      {"kind", json_text(nn::name(node.kind))},
                      {"name", checked_json(node.name)},
                      {"target", checked_json(node.target)}});
}

std::string outputs_json(const std::vector<nn::GraphOutput>& outputs) {
  std::vector<std::string> list;
  for (const nn::GraphOutput& output : outputs)
    list.push_back(json_object({{"name", checked_json(output.name)}, {"node", json_text(output.node->name)}}));
  return json_list(list);
}

}  // namespace

std::string graph_to_json(const nn::Graph& graph) {
  std::vector<std::string> layers, nodes;
  for (const auto& [path, layer] : graph.children()) layers.push_back(layer_json(path, *layer));
  std::unordered_map<std::string, Attributes> tensors;
  for (auto& [path, tensor] : graph.named_parameters()) tensors.emplace(path, tensor_attributes(tensor, true));
  for (auto& [path, tensor] : graph.named_buffers()) tensors.emplace(path, tensor_attributes(tensor, false));
  for (const Node* node : graph.nodes()) {
    const bool is_tensor = node->kind == Node::Kind::tensor;
    nodes.push_back(node_json(*node, is_tensor ? tensors.at(node->target) : node->attributes));
  }
  std::vector<std::pair<std::string, std::string>> members{{"layers", json_list(layers)}, {"nodes", json_list(nodes)}};
  const std::vector<nn::GraphOutput>& outputs = graph.outputs();
  // Programs that know one output alone read such files, and refuse those of several.
  if (outputs.size() == 1) members.emplace_back("output", json_text(outputs[0].node->name));
  if (outputs.size() > 1 || outputs[0].name != outputs[0].node->name)
    members.emplace_back("outputs", outputs_json(outputs));
  return json_object(members);
}

nn::Graph graph_from_json(const std::string& text, size_t tensors) {
  constexpr size_t kSpare = 1024;  // so that a file which lacks some is told which
  size_t left = tensors + kSpare;
  return GraphReader(left).read(parse_json(text, "graph"));
}

}  // namespace thimble::detail
