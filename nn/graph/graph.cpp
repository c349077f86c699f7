#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

Graph::Graph(Graph&& other) noexcept
    : Module(std::move(other)),
      nodes_(std::move(other.nodes_)),
      position_(std::move(other.position_)),
      by_name_(std::move(other.by_name_)),
      calls_(std::move(other.calls_)),
      suffixes_(std::move(other.suffixes_)),
      outputs_(std::exchange(other.outputs_, {})),
      runners_(std::move(other.runners_)),
      runners_mutex_(std::move(other.runners_mutex_)) {}

Graph& Graph::operator=(Graph&& other) noexcept {
  Module::operator=(std::move(other));
  nodes_ = std::move(other.nodes_);
  position_ = std::move(other.position_);
  by_name_ = std::move(other.by_name_);
  calls_ = std::move(other.calls_);
  suffixes_ = std::move(other.suffixes_);
  outputs_ = std::exchange(other.outputs_, {});
  runners_ = std::move(other.runners_);
  runners_mutex_ = std::move(other.runners_mutex_);
  return *this;
}

std::string_view name(Node::Kind kind) {
  constexpr std::string_view kNames[] = {"input", "tensor", "layer", "op"};
  return kNames[static_cast<size_t>(kind)];
}

std::vector<Node*> Graph::nodes() const {
  std::vector<Node*> all;
  all.reserve(nodes_.size());
  for (const Held& node : nodes_) all.push_back(const_cast<Held*>(&node));
  return all;
}

std::vector<Node*> Graph::inputs() const {
  std::vector<Node*> found = nodes();
  std::erase_if(found, [](const Node* node) { return node->kind != Node::Kind::input; });
  return found;
}

Node* Graph::find(std::string_view node_name) const {
  const auto it = by_name_.find(std::string(node_name));
  return it == by_name_.end() ? nullptr : it->second;
}

std::vector<Node*> Graph::users(const Node* node) const {
  std::vector<Node*> found;
  if (const auto it = position_.find(node); it != position_.end())
    for (const auto& [user, times] : it->second->users) found.push_back(user);
  return found;
}

bool Graph::is_output(const Node* node) const {
  return std::ranges::find(outputs_, node, &GraphOutput::node) != outputs_.end();
}

size_t Graph::num_users(const Node* node) const {
  const auto it = position_.find(node);
  return it == position_.end() ? 0 : it->second->users.size();
}

void Graph::check_not_null(const Node* node) {
  check<ValueError>(node != nullptr, "graph: the node is null; find() gives null for a name that is not there");
}

void Graph::check_name_of(const Node* node) const {
  const auto it = by_name_.find(node->name);  // not find(), which needs memory
  check<ValueError>(it != by_name_.end() && it->second == node, "graph: the name of '", node->name,
                    "' was changed, but not by rename()");
}

void Graph::check_not_moved_from() const {
  check<ValueError>(runners_ != nullptr, "graph: it was moved from; use the graph that it was moved to");
}

std::shared_ptr<Module> Graph::layer_at(const std::string& target) const {
  std::shared_ptr<Module> layer = child(target);
  check<ValueError>(layer != nullptr, "graph: there is no layer '", target, "'");
  return layer;
}

Module& Graph::layer(const Node* node) const {
  check_not_null(node);
  check<ValueError>(node->kind == Node::Kind::layer, "graph: node '", node->name, "' calls no layer");
  return *layer_at(node->target);
}

Tensor Graph::tensor(const Node* node) const {
  check_not_null(node);
  check<ValueError>(node->kind == Node::Kind::tensor, "graph: node '", node->name, "' is no tensor");
  const Tensor tensor = own_tensor(node->target);
  check<ValueError>(tensor.defined(), "graph: there is no tensor '", node->target, "'");
  return tensor;
}

Tensor Graph::default_of(const Node* input) const {
  check_not_null(input);
  return input->kind == Node::Kind::input && !input->target.empty() ? own_tensor(input->target) : Tensor();
}

bool Graph::is_layer(const Node* node, std::string_view type) const {
  return node->kind == Node::Kind::layer && layer(node).type() == type;
}

int Graph::calls_of_layer(const Node* node) const {
  const auto it = calls_.find(node->target);
  return it == calls_.end() ? 0 : it->second;
}

void Graph::verify() const {
  check<ValueError>(!outputs_.empty(), "graph: it has no output");
  std::unordered_set<const Node*> seen;
  std::unordered_set<std::string> names;
  bool has_input = false;
  std::unordered_set<std::string> state_names;
  for (const auto& [path, tensor] : state())
    check<ValueError>(state_names.insert(path).second, "graph: two tensors are named '", path, "'");
  for (const Node* node : nodes()) {
    check<ValueError>(names.insert(node->name).second, "graph: the name '", node->name, "' is used twice");
    check_name_of(node);
    for (const Node* input : node->inputs) {
      check<ValueError>(input != nullptr, "graph: '", node->name, "' has a null input");
      check<ValueError>(seen.contains(input), "graph: '", node->name, "' stands before its input '", input->name, "'");
    }
    if (node->kind == Node::Kind::op && attribute_inputs(*node).empty())  // else not all attributes are known
      check_num_inputs(*make_op(node->target, node->attributes), node->inputs.size());
    if (node->kind == Node::Kind::layer) layer(node);
    const bool has_default = node->kind == Node::Kind::input && !node->target.empty();
    if (node->kind == Node::Kind::tensor || has_default)
      check<ValueError>(state_names.contains(node->target), "graph: there is no tensor '", node->target, "' for '",
                        node->name, "'");
    const bool takes_inputs = node->kind == Node::Kind::op || node->kind == Node::Kind::layer;
    check<ValueError>(takes_inputs != node->inputs.empty(), "graph: '", node->name, "' has ", node->inputs.size(),
                      " inputs, which a node of kind ", nn::name(node->kind), " cannot");
    has_input = has_input || node->kind == Node::Kind::input;
    seen.insert(node);
  }
  check<ValueError>(has_input, "graph: it has no input");
  for (const GraphOutput& output : outputs_)
    check<ValueError>(seen.contains(output.node), "graph: its output '", output.name, "' is not one of its nodes");
}

Graph Graph::clone() const {
  Graph copy;
  std::unordered_map<const Node*, Node*> twin;
  for (const auto& [path, child] : children()) copy.register_module(path, copy_layer(*child));
  std::map<std::string, Tensor> parameters, buffers;
  for (auto& [path, tensor] : named_parameters()) parameters.emplace(path, tensor);
  for (auto& [path, tensor] : named_buffers()) buffers.emplace(path, tensor);
  for (const Node* node : nodes()) {
    std::vector<Node*> twin_inputs;
    for (const Node* input : node->inputs) twin_inputs.push_back(twin.at(input));
    twin[node] = copy.insert({node->name, node->kind, node->target, node->attributes, std::move(twin_inputs)}, nullptr);
    if (node->kind != Node::Kind::tensor && !default_of(node).defined()) continue;
    if (const auto it = parameters.find(node->target); it != parameters.end())
      copy.register_parameter(node->target, it->second.data().lazy_clone())
          .set_requires_grad(it->second.requires_grad());
    else if (const auto own = buffers.find(node->target); own != buffers.end())
      copy.register_buffer(node->target, own->second.data().lazy_clone());
  }
  for (const GraphOutput& output : outputs_) copy.outputs_.push_back({output.name, twin.at(output.node)});
  copy.set_own_mode(training());
  return copy;
}

}  // namespace thimble::nn
