#include <algorithm>
#include <unordered_map>

#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

namespace {

void check_leaf_layer(const std::string& node_name, const Module* new_layer) {
  check<ValueError>(new_layer != nullptr, "graph: the layer for '", node_name, "' is null");
  check<ValueError>(new_layer->is_layer(), "graph: '", node_name, "' is no leaf layer; containers are traced");
}

void check_new_tensor(const Graph& graph, const std::string& node_name, const Tensor& tensor) {
  check<ValueError>(tensor.defined(), "graph: the tensor of '", node_name, "' is undefined");
  // One that the caller alone holds is in no graph, and need not be looked for among thousands.
  const std::string path = tensor.is_unique() ? "" : graph.path_of(tensor);
  check<ValueError>(path.empty(), "graph: the tensor of '", node_name, "' is in the graph as '", path, "' already");
}

// Whether a layer has a tensor that is known by this path: no two may be, such as the bias of a layer "fc" and a tensor
// "fc.bias".
bool is_in_layer(const Graph& graph, const std::string& path) {
  for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) {
    const std::shared_ptr<Module> layer = graph.child(path.substr(0, dot));
    if (!layer) continue;
    for (const auto& [name, tensor] : layer->state())
      if (path.compare(dot + 1, std::string::npos, name) == 0) return true;
  }
  return false;
}

}  // namespace

std::string Graph::unique_name(const std::string& wanted) {
  const std::string first = wanted.empty() ? "node" : wanted;
  if (!find(first)) return first;
  int64_t& suffix = suffixes_[first];  // thousands of nodes may want one name
  std::string candidate;
  do candidate = str(first, '_', ++suffix);
  while (find(candidate));
  return candidate;
}

// For a layer or tensor: nodes have names of their own.
std::string Graph::unique_target(const std::string& wanted) const {
  std::string candidate = wanted;
  for (int64_t i = 1; is_registered(candidate) || is_in_layer(*this, candidate); ++i) candidate = str(wanted, '_', i);
  return candidate;
}

Graph::Nodes::iterator Graph::position(const Node* node) {
  check_not_moved_from();
  check_not_null(node);
  const auto it = position_.find(node);
  check<ValueError>(it != position_.end(), "graph: a node of another graph was given");
  check_name_of(node);
  return it->second;
}

// A rank between its neighbours' for a node that will stand before `next`.
int64_t Graph::rank_before(Nodes::iterator next) {
  constexpr int64_t kGap = int64_t{1} << 32;
  const auto below = [&] { return next == nodes_.begin() ? 0 : std::prev(next)->rank; };
  if (next == nodes_.end()) return below() + kGap;
  if (next->rank - below() < 2) {
    int64_t rank = 0;
    for (Held& node : nodes_) node.rank = rank += kGap;
  }
  return below() + (next->rank - below()) / 2;
}

Node* Graph::insert(Node node, const Node* after) {
  check_not_moved_from();
  for (const Node* input : node.inputs) {
    check<ValueError>(input != nullptr, "graph: '", node.name, "' has a null input");
    check<ValueError>(position_.contains(input), "graph: an input of '", node.name, "' is a node of another graph");
  }
  const auto next = after ? std::next(position(after)) : nodes_.end();
  edited();
  const auto inserted = nodes_.insert(next, Held{std::move(node), rank_before(next)});
  try {
    position_.emplace(&*inserted, inserted);
    link(*inserted);
  } catch (...) {  // there is no memory
    unlink(*inserted);
    nodes_.erase(inserted);
    throw;
  }
  return &*inserted;
}

void Graph::link(Held& node) {
  by_name_.emplace(node.name, &node);
  for (const Node* input : node.inputs) ++position_.at(input)->users[&node];
  if (node.kind == Node::Kind::layer) ++calls_[node.target];
}

// Also one that is linked in part: its call counts last.
void Graph::unlink(Held& node) noexcept {
  drop_inputs(node);
  if (const auto it = by_name_.find(node.name); it != by_name_.end() && it->second == &node) by_name_.erase(it);
  position_.erase(&node);
}

void Graph::drop_inputs(Held& user) noexcept {
  for (const Node* input : user.inputs)
    if (const auto it = position_.find(input); it != position_.end()) it->second->users.erase(&user);
}

void Graph::drop_call(const Node& node) noexcept {
  if (node.kind != Node::Kind::layer) return;
  const auto it = calls_.find(node.target);
  if (it != calls_.end() && --it->second == 0) calls_.erase(it);
}

void Graph::remove(const Node* node) {
  const auto it = position(node);
  drop_call(*it);
  unlink(*it);
  if (!suffixes_.empty()) suffixes_.clear();
  nodes_.erase(it);
}

Node* Graph::add_input(const std::string& wanted_name, const Tensor& default_value) {
  const std::string node_name = unique_name(wanted_name);
  check_not_moved_from();
  if (!default_value.defined()) return insert({node_name, Node::Kind::input, {}, {}, {}}, nullptr);
  check_new_tensor(*this, node_name, default_value);
  const std::string target = unique_target(node_name);
  Attributes attributes{{"default_shape", default_value.shape().to_vector()},
                        {"default_dtype", std::string(thimble::name(default_value.dtype()))}};
  Node* node = insert({node_name, Node::Kind::input, target, std::move(attributes), {}}, nullptr);
  try {
    register_buffer(target, default_value);
  } catch (...) {
    remove(node);
    throw;
  }
  return node;
}

Node* Graph::add_op(const std::string& wanted_name, const std::string& op, Attributes attributes,
                    std::vector<Node*> inputs, const Node* after) {
  return insert({unique_name(wanted_name), Node::Kind::op, op, std::move(attributes), std::move(inputs)}, after);
}

Node* Graph::add_layer(const std::string& wanted_name, std::shared_ptr<Module> new_layer, std::vector<Node*> inputs,
                       const Node* after) {
  const std::string node_name = unique_name(wanted_name);
  check_leaf_layer(node_name, new_layer.get());
  std::string target = unique_target(node_name);
  const NamedTensors tensors = new_layer->state();
  const auto meets_another = [&](const auto& tensor) {
    const std::string path = target + '.' + tensor.first;
    return is_registered(path) || is_in_layer(*this, path);
  };
  while (std::ranges::any_of(tensors, meets_another)) target = unique_target(target + '_');
  Node* node = insert({node_name, Node::Kind::layer, target, {}, std::move(inputs)}, after);
  try {
    register_module(target, std::move(new_layer));
  } catch (...) {
    remove(node);
    throw;
  }
  return node;
}

Node* Graph::add_call(const std::string& wanted_name, const std::string& target, std::vector<Node*> inputs,
                      const Node* after) {
  layer_at(target);
  return insert({unique_name(wanted_name), Node::Kind::layer, target, {}, std::move(inputs)}, after);
}

Node* Graph::add_tensor(const std::string& wanted_name, const Tensor& tensor) {
  const std::string node_name = unique_name(wanted_name);
  check_not_moved_from();
  check_new_tensor(*this, node_name, tensor);
  const bool as_wanted = !wanted_name.empty() && !is_registered(wanted_name) && !is_in_layer(*this, wanted_name);
  const std::string target = as_wanted ? wanted_name : unique_target(node_name);
  Node* node = insert({node_name, Node::Kind::tensor, target, {}, {}}, nullptr);
  try {
    if (tensor.requires_grad())
      register_parameter(target, tensor);
    else
      register_buffer(target, tensor);
  } catch (...) {
    remove(node);
    throw;
  }
  return node;
}

void Graph::set_output(Node* node) {
  check_not_null(node);
  set_outputs({{node->name, node}});
}

void Graph::set_outputs(std::vector<GraphOutput> outputs) {
  check<ValueError>(!outputs.empty() && outputs.size() <= kMostOutputs, "graph: ", outputs.size(),
                    " outputs were asked for, expected 1 to ", kMostOutputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    position(outputs[i].node);
    const auto same = std::ranges::find(outputs, outputs[i].name, &GraphOutput::name);
    check<ValueError>(!outputs[i].name.empty() && same == outputs.begin() + static_cast<std::ptrdiff_t>(i),
                      "graph: the name of an output, '", outputs[i].name, "', is empty or given twice");
  }
  outputs_ = std::move(outputs);
  edited();
}

void Graph::replace_output(Node* old, Node* replacement) {
  position(old);
  position(replacement);
  for (GraphOutput& output : outputs_)
    if (output.node == old) output.node = replacement;
  edited();
}

void Graph::replace_layer(Node* node, std::shared_ptr<Module> new_layer) {
  position(node);
  layer(node);
  check_leaf_layer(node->name, new_layer.get());
  replace_module(node->target, std::move(new_layer));
  edited();
}

void Graph::replace_op(Node* node, const std::string& op, Attributes attributes) {
  position(node);
  check<ValueError>(node->kind == Node::Kind::op, "graph: node '", node->name, "' applies no op");
  node->target = op;
  node->attributes = std::move(attributes);
  edited();
}

void Graph::replace_by_tensor(Node* node, const Tensor& tensor) {
  Held& held = *position(node);
  check<ValueError>(node->kind == Node::Kind::layer || node->kind == Node::Kind::op, "graph: node '", node->name,
                    "' calls no layer and applies no op");
  check_new_tensor(*this, node->name, tensor);
  const bool last_call = node->kind == Node::Kind::layer && calls_of_layer(node) == 1;
  const bool takes_its_place = last_call && node->target == node->name;
  std::string target = takes_its_place ? node->name : unique_target(node->name);
  if (takes_its_place)
    replace_module(target, tensor);
  else
    register_buffer(target, tensor);
  if (last_call && !takes_its_place) erase_module(node->target);
  drop_call(held);
  drop_inputs(held);
  node->kind = Node::Kind::tensor;
  node->target = std::move(target);
  node->attributes = {};
  node->inputs.clear();
  edited();
}

void Graph::replace_uses(Node* old, Node* replacement) {
  auto &from = position(old)->users, &to = position(replacement)->users;
  for (auto it = from.begin(); it != from.end();) {
    auto use = from.extract(it++);
    Held* user = use.key();
    if (user == replacement) {
      from.insert(std::move(use));
      continue;
    }
    std::ranges::replace(user->inputs, old, replacement);
    if (const auto known = to.find(user); known != to.end())
      known->second += use.mapped();
    else
      to.insert(std::move(use));
  }
  replace_output(old, replacement);
}

void Graph::set_input(Node* node, size_t index, Node* value) {
  Held& user = *position(node);
  check<ValueError>(index < node->inputs.size(), "graph: '", node->name, "' has no input ", index);
  ++position(value)->users[&user];
  const auto before = position_.find(node->inputs[index]);
  if (before != position_.end()) {
    auto& users = before->second->users;
    const auto use = users.find(&user);
    if (use != users.end() && --use->second == 0) users.erase(use);
  }
  node->inputs[index] = value;
  edited();
}

void Graph::rename(Node* node, const std::string& new_name) {
  check_not_null(node);
  check<ValueError>(find(node->name) == node, "graph: a node of another graph was given");
  const Node* other = find(new_name);
  check<ValueError>(!new_name.empty() && (!other || other == node), "graph: '", node->name, "' cannot be named '",
                    new_name, "': the name is empty or taken");
  if (other == node) return;
  std::string name = new_name;
  by_name_.emplace(new_name, node);
  by_name_.erase(node->name);
  if (!suffixes_.empty()) suffixes_.clear();
  node->name = std::move(name);
  edited();
}

void Graph::erase(Node* node) {
  const auto& remaining = position(node)->users;
  check<ValueError>(remaining.empty(), "graph: cannot erase '", node->name, "': '",
                    remaining.empty() ? "" : remaining.begin()->first->name, "' uses it");
  check<ValueError>(!is_output(node), "graph: cannot erase '", node->name, "': it is an output");
  if (node->kind == Node::Kind::layer && calls_of_layer(node) == 1) erase_module(node->target);
  if (node->kind == Node::Kind::tensor || (node->kind == Node::Kind::input && !node->target.empty()))
    erase_tensor(node->target);
  remove(node);
  edited();
}

int Graph::eliminate_dead_nodes() {
  int removed = 0;
  const std::vector<Node*> all = nodes();
  std::unordered_map<const Node*, int> uses;
  for (const Node* node : all)
    for (const Node* input : node->inputs) ++uses[input];
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    Node* node = *it;
    if (is_output(node) || node->kind == Node::Kind::input || uses[node] > 0) continue;
    for (const Node* input : node->inputs) --uses[input];
    erase(node);
    ++removed;
  }
  return removed;
}

}  // namespace thimble::nn
