#include <algorithm>
#include <atomic>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include <thimble/nn/graph/graph.h>
#include <thimble/nn/graph/recomputed.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/training/eval_mode.h>

namespace thimble::nn {

/// The graph as a list of steps over numbered values, and its executor. Outlives the graph where a backward() needs it.
struct Graph::Plan {
  explicit Plan(const Graph& graph) : executor(std::make_unique<Executor>(graph)) {}

  /// Node by node. All values, or the output alone.
  std::vector<Tensor> run(std::span<const Tensor> inputs, bool keep_all) const;
  /// The output in evaluation mode, whatever mode the layers are in meanwhile.
  Tensor evaluate(std::span<const Tensor> inputs) const;
  /// What the output may depend on besides the inputs: parameters and buffers.
  std::vector<Tensor> state_of_output() const;

  struct Step {
    Node::Kind kind;
    std::shared_ptr<Module> layer;
    const OpFactory* op = nullptr;
    std::string name;
    Attributes attributes;
    Tensor tensor;
    std::vector<size_t> inputs;
    std::vector<size_t> last_uses;  // values that nobody needs after this step
  };
  std::vector<Step> steps;
  size_t output = 0;
  size_t arguments = 0;
  std::vector<Tensor> state;  // state_of_output()
  std::unique_ptr<Executor> executor;
  /// Whether somebody called backward() through an answer of the executor, which then had to be computed again.
  mutable std::atomic<bool> is_trained{false};
  mutable std::mutex evaluating;  ///< the layers' modes are changed
};

namespace {
void check_not_null(const Node* node) {
  check<ValueError>(node != nullptr, "graph: the node is null; find() gives null for a name that is not there");
}

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

}  // namespace

Graph::Graph(Graph&& other) noexcept
    : Module(std::move(other)),
      nodes_(std::move(other.nodes_)),
      position_(std::move(other.position_)),
      by_name_(std::move(other.by_name_)),
      calls_(std::move(other.calls_)),
      suffixes_(std::move(other.suffixes_)),
      output_(std::exchange(other.output_, nullptr)),
      plan_(std::move(other.plan_)),
      plan_mutex_(std::move(other.plan_mutex_)) {}

Graph& Graph::operator=(Graph&& other) noexcept {
  Module::operator=(std::move(other));
  nodes_ = std::move(other.nodes_);
  position_ = std::move(other.position_);
  by_name_ = std::move(other.by_name_);
  calls_ = std::move(other.calls_);
  suffixes_ = std::move(other.suffixes_);
  output_ = std::exchange(other.output_, nullptr);
  plan_ = std::move(other.plan_);
  plan_mutex_ = std::move(other.plan_mutex_);
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

size_t Graph::num_users(const Node* node) const {
  const auto it = position_.find(node);
  return it == position_.end() ? 0 : it->second->users.size();
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

bool Graph::is_layer(const Node* node, std::string_view type) const {
  return node->kind == Node::Kind::layer && layer(node).type() == type;
}

int Graph::calls_of_layer(const Node* node) const {
  const auto it = calls_.find(node->target);
  return it == calls_.end() ? 0 : it->second;
}

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
  for (int64_t i = 1; is_registered(candidate); ++i) candidate = str(wanted, '_', i);
  return candidate;
}

void Graph::check_name_of(const Node* node) const {
  const auto it = by_name_.find(node->name);  // not find(), which needs memory
  check<ValueError>(it != by_name_.end() && it->second == node, "graph: the name of '", node->name,
                    "' was changed, but not by rename()");
}

void Graph::check_not_moved_from() const {
  check<ValueError>(plan_ != nullptr, "graph: it was moved from; use the graph that it was moved to");
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

Node* Graph::add_input(const std::string& wanted_name) {
  return insert({unique_name(wanted_name), Node::Kind::input, "", {}, {}}, nullptr);
}

Node* Graph::add_op(const std::string& wanted_name, const std::string& op, Attributes attributes,
                    std::vector<Node*> inputs, const Node* after) {
  return insert({unique_name(wanted_name), Node::Kind::op, op, std::move(attributes), std::move(inputs)}, after);
}

Node* Graph::add_layer(const std::string& wanted_name, std::shared_ptr<Module> new_layer, std::vector<Node*> inputs,
                       const Node* after) {
  const std::string node_name = unique_name(wanted_name);
  check_leaf_layer(node_name, new_layer.get());
  const std::string target = unique_target(node_name);
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
  const bool as_wanted = !wanted_name.empty() && !is_registered(wanted_name);
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
  position(node);
  output_ = node;
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
  if (output_ == old) output_ = replacement;
  edited();
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
  check<ValueError>(node != output_, "graph: cannot erase '", node->name, "': it is the output");
  if (node->kind == Node::Kind::layer && calls_of_layer(node) == 1) erase_module(node->target);
  if (node->kind == Node::Kind::tensor) erase_tensor(node->target);
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
    if (node == output_ || node->kind == Node::Kind::input || uses[node] > 0) continue;
    for (const Node* input : node->inputs) --uses[input];
    erase(node);
    ++removed;
  }
  return removed;
}

void Graph::verify() const {
  check<ValueError>(output_ != nullptr, "graph: it has no output");
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
    if (node->kind == Node::Kind::op) check_num_inputs(*make_op(node->target, node->attributes), node->inputs.size());
    if (node->kind == Node::Kind::layer) layer(node);
    if (node->kind == Node::Kind::tensor)
      check<ValueError>(state_names.contains(node->target), "graph: there is no tensor '", node->target, "' for '",
                        node->name, "'");
    const bool takes_inputs = node->kind == Node::Kind::op || node->kind == Node::Kind::layer;
    check<ValueError>(takes_inputs != node->inputs.empty(), "graph: '", node->name, "' has ", node->inputs.size(),
                      " inputs, which a node of kind ", nn::name(node->kind), " cannot");
    has_input = has_input || node->kind == Node::Kind::input;
    seen.insert(node);
  }
  check<ValueError>(has_input, "graph: it has no input");
  check<ValueError>(seen.contains(output_), "graph: its output is not one of its nodes");
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
    if (node->kind != Node::Kind::tensor) continue;
    if (const auto it = parameters.find(node->target); it != parameters.end())
      copy.register_parameter(node->target, it->second.data().clone()).set_requires_grad(it->second.requires_grad());
    else if (const auto own = buffers.find(node->target); own != buffers.end())
      copy.register_buffer(node->target, own->second.data().clone());
  }
  copy.output_ = output_ ? twin.at(output_) : nullptr;
  copy.set_own_mode(training());
  return copy;
}

std::vector<Tensor> Graph::Plan::state_of_output() const {
  std::vector<bool> needed(steps.size());
  needed[output] = true;
  std::map<const void*, Tensor> found;  // a layer that is called twice counts once
  for (size_t i = steps.size(); i-- > 0;) {
    const Step& step = steps[i];
    if (!needed[i]) continue;
    for (size_t input : step.inputs) needed[input] = true;
    if (step.tensor.defined()) found.emplace(step.tensor.id(), step.tensor);
    if (!step.layer) continue;
    for (const auto& [path, tensor] : step.layer->state()) found.emplace(tensor.id(), tensor);
  }
  std::vector<Tensor> tensors;
  for (const auto& [id, tensor] : found) tensors.push_back(tensor);
  return tensors;
}

std::shared_ptr<const Graph::Plan> Graph::plan() const {
  check_not_moved_from();
  std::lock_guard lock(*plan_mutex_);
  if (*plan_) return *plan_;
  verify();
  auto made = std::make_shared<Plan>(*this);
  std::unordered_map<const Node*, size_t> number;
  std::vector<size_t> last_use(nodes_.size());
  std::map<std::string, Tensor> tensors;
  for (auto& [path, tensor] : state()) tensors.emplace(path, tensor);
  for (const Node* node : nodes()) {
    const size_t index = made->steps.size();
    number[node] = index;
    last_use[index] = index;
    Plan::Step step{node->kind, nullptr, nullptr, node->name, node->attributes, {}, {}, {}};
    if (node->kind == Node::Kind::layer) step.layer = layer_at(node->target);
    if (node->kind == Node::Kind::op) step.op = &op_factory(node->target);
    if (node->kind == Node::Kind::tensor) step.tensor = tensors.at(node->target);
    if (node->kind == Node::Kind::input) ++made->arguments;
    for (const Node* input : node->inputs) {
      step.inputs.push_back(number.at(input));
      last_use[number.at(input)] = index;
    }
    made->steps.push_back(std::move(step));
  }
  made->output = number.at(output_);
  made->state = made->state_of_output();
  for (size_t value = 0; value < last_use.size(); ++value)
    if (value != made->output) made->steps[last_use[value]].last_uses.push_back(value);
  *plan_ = made;
  return made;
}

std::vector<Tensor> Graph::Plan::run(std::span<const Tensor> inputs, bool keep_all) const {
  check<ValueError>(inputs.size() == arguments, "graph: takes ", arguments, " inputs, got ", inputs.size());
  std::vector<Tensor> values(steps.size());
  std::vector<Tensor> operands;
  size_t next_input = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    operands.clear();
    for (size_t input : step.inputs) operands.push_back(values[input]);
    switch (step.kind) {
      case Node::Kind::input:
        values[i] = inputs[next_input++];
        break;
      case Node::Kind::tensor:
        values[i] = step.tensor;
        break;
      case Node::Kind::layer:
        values[i] = step.layer->call(operands);
        break;
      case Node::Kind::op:
        values[i] = detail::named_in_errors(step.name, [&] { return apply((*step.op)(step.attributes), operands); });
        break;
    }
    if (!keep_all)
      for (size_t done : step.last_uses) values[done] = Tensor();
  }
  if (!keep_all) return {values[output]};
  return values;
}

Tensor Graph::Plan::evaluate(std::span<const Tensor> inputs) const {
  const std::lock_guard lock(evaluating);
  std::list<EvalMode> modes;
  for (const Step& step : steps)
    if (step.layer && step.layer->training()) modes.emplace_back(*step.layer);
  return run(inputs, false).front();
}

std::vector<Tensor> Graph::run(std::span<const Tensor> inputs, bool keep_all) const {
  return plan()->run(inputs, keep_all);
}

// On the executor, unless gradients of an input are wanted. With parameters that want some the answer is recorded as a
// function of them, which is computed again if somebody calls backward(): who does will do so again, and gets recorded
// runs from then on.
Tensor Graph::forward_all(std::span<const Tensor> inputs) {
  const std::shared_ptr<const Plan> p = plan();
  const auto want_gradients = [](std::span<const Tensor> tensors) {
    return grad_enabled() && std::ranges::any_of(tensors, &Tensor::requires_grad);
  };
  const auto node_by_node = [&] { return p->run(inputs, false).front(); };
  if (training() || call_listener() || inputs.size() > Executor::kMostInputs || want_gradients(inputs))
    return node_by_node();
  const bool records = want_gradients(p->state);
  if (records && p->is_trained) return node_by_node();
  try {
    if (!p->executor->usable()) return node_by_node();
    const Tensor y = p->executor->run(*this, inputs);
    if (!records) return y;
    std::vector<Tensor> given(inputs.begin(), inputs.end()), all = p->state;
    all.insert(all.end(), inputs.begin(), inputs.end());
    return recomputed_in_backward(y.data(), std::move(all), [p, given = std::move(given)] {
      p->is_trained = true;
      return p->evaluate(given);
    });
  } catch (const Error&) {
    return node_by_node();  // an error says which node it is about
  }
}

std::vector<Tensor> Graph::run_all(std::span<const Tensor> inputs) { return run(inputs, true); }

}  // namespace thimble::nn
