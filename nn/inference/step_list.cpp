#include <algorithm>
#include <unordered_set>

#include <thimble/core/ops/channels_last.h>
#include <thimble/nn/inference/fallback_steps.h>
#include <thimble/nn/inference/following.h>
#include <thimble/nn/inference/reads_views.h>
#include <thimble/nn/inference/step_list.h>
#include <thimble/nn/inference/view_steps.h>

namespace thimble::nn {

namespace {

using Source = StepList::Source;

constexpr size_t kMostInputs = StepList::kMostOperands - 1;  // of a node: a step may have absorbed an addend
constexpr int64_t kMostKnown = 4096;                         // elements of values that are computed when steps are made

// Goes through the nodes that the output needs, in order. A step whose output one node alone reads is held back until
// that node's turn, which it may absorb: then it is held back for the next.
class StepListBuilder {
 public:
  StepListBuilder(const Graph& graph, const std::vector<ValueInfo>& inputs, SharedState& shared)
      : graph_(graph), inputs_(inputs), shared_(shared) {}

  StepList build() {
    const size_t takes = graph_.inputs().size();
    check<ValueError>(takes == inputs_.size(), "graph: takes ", takes, " inputs, got ", inputs_.size());
    find_readers();
    for (const Node* node : graph_.nodes()) {
      if (node->kind == Node::Kind::input)
        add_input(node);
      else if (is_needed(node) && node->kind == Node::Kind::tensor)
        value_of_[node] = add_constant(node);
      else if (is_needed(node))
        add_node(node);
    }
    for (const GraphOutput& output : graph_.outputs()) add_output(output);
    return std::move(list_);
  }

 private:
  // A step that waits for what follows it.
  struct Pending {
    std::unique_ptr<InferenceStep> step;
    std::vector<size_t> inputs;
    SharedWeights* weights;
    std::string node = {};
  };

  void find_readers() {
    const std::vector<Node*> nodes = graph_.nodes();
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
      if (!is_needed(*node)) continue;
      const bool reads_sizes = graph_.is_op(*node, "shape") || !is_computed(*node);
      for (const Node* input : (*node)->inputs) {
        if (reads_sizes)
          sizes_of_.emplace(input, ValueInfo());
        else
          readers_[input].push_back(*node);
      }
    }
  }

  bool is_computed(const Node* node) const { return readers_.contains(node) || graph_.is_output(node); }

  bool is_needed(const Node* node) const { return is_computed(node) || sizes_of_.contains(node); }

  void add_input(const Node* node) {
    const ValueInfo info = as_read(node, inputs_[list_.inputs.size()]);
    value_of_[node] = add_value(info, Source::argument);
    note_sizes(node, info);
    list_.inputs.push_back({node->name, value_of_[node]});
    // One that no node uses is divided with the others, too.
    list_.per_sample = list_.per_sample && has_batch_first(info) && !info.value.defined();
  }

  // An image in row-major order, if all that is done to it, until it lies as usual, can be done so: what others call
  // channels-last images, [n, h, w, c], are permuted first of all, and what is quantized first of all are fewer bytes.
  ValueInfo as_read(const Node* node, const ValueInfo& info) const {
    if (!info.is_image() || info.value.defined()) return info;
    const ValueInfo in_order = row_major(info.shape, info.dtype);
    for (ValueInfo x = in_order; !x.lies_as_usual();) {
      const auto readers = readers_.find(node);
      if (graph_.is_output(node) || readers == readers_.end() || readers->second.size() != 1) return info;
      node = readers->second[0];
      if (node->inputs.size() != 1) return info;
      const std::unique_ptr<InferenceStep> step = make_step(NodeCall(graph_, *node), {x});
      if (!step) return info;
      const ValueInfo& y = step->output();
      if (!step->is_view() && y.strides != x.strides && !y.lies_as_usual()) return info;
      x = y;
    }
    return in_order;
  }

  void add_output(const GraphOutput& output) {
    const size_t value = in_usual_order(value_of(output.node));
    list_.outputs.push_back({output.name, value});
    list_.per_sample = list_.per_sample && list_.values[value].source != Source::constant;
  }

  void add_node(const Node* node) {
    check<ValueError>(node->inputs.size() <= kMostInputs, "graph: '", node->name, "' has more than ", kMostInputs,
                      " inputs");
    const NodeCall general(graph_, *node);
    if (general.num_attribute_inputs() == 0 && is_computed(node) && absorbed(node)) return;
    if (became_known(node, general)) return;
    const NodeCall call = general.num_attribute_inputs() > 0 ? with_known_attributes(node, general) : general;
    const auto inputs = std::span(node->inputs).first(node->inputs.size() - general.num_attribute_inputs());
    if (!is_computed(node)) return note_sizes(node, sizes_given_by(call, inputs));
    std::vector<size_t> arguments;
    for (const Node* input : inputs) arguments.push_back(operand(input));
    std::unique_ptr<InferenceStep> step = make_step(call, infos_of(arguments));
    if (!step) {
      const std::vector<size_t> before = arguments;
      for (size_t& argument : arguments) argument = in_usual_order(argument);
      if (arguments != before) step = make_step(call, infos_of(arguments));
    }
    if (!step) step = fallback_step(call, infos_of(arguments));
    hold_back(node, {std::move(step), std::move(arguments), weights_of(*node), node->name});
  }

  // Of a node whose shape is asked for, but not what it computes.
  ValueInfo sizes_given_by(const NodeCall& call, std::span<Node* const> inputs) {
    std::vector<ValueInfo> infos;
    for (const Node* input : inputs) infos.push_back(sizes_of_.at(input));
    std::unique_ptr<InferenceStep> step = make_step(call, infos);
    if (!step) step = fallback_step(call, infos);
    list_.node_shapes.push_back(step->output().shape);
    return step->output().as_usual();
  }

  // Parts of a batch have other sizes than the whole, and what is computed with them would be another.
  size_t operand(const Node* input) {
    if (of_sizes_.contains(input)) list_.per_sample = false;
    return value_of(input);
  }

  // The elements of a node that comes before, if they are known. They lie in the graph's order.
  const NDArray& known(const Node* node) const {
    static const NDArray none;
    const auto it = value_of_.find(node);
    return it == value_of_.end() ? none : list_.values[it->second].info.value;
  }

  // Whether the node's value follows from sizes and constants, and is a constant of the program now.
  bool became_known(const Node* node, const NodeCall& call) {
    if (node->kind != Node::Kind::op || node->target == "dropout") return false;
    const bool is_shape = node->target == "shape";
    std::vector<Tensor> operands;
    bool depends_on_sizes = is_shape;
    for (const Node* input : node->inputs) {
      if (is_shape) break;
      if (!known(input).defined()) return false;
      operands.emplace_back(known(input));
      depends_on_sizes = depends_on_sizes || of_sizes_.contains(input);
    }
    const NDArray given = is_shape ? NDArray::from_vector(sizes_of_.at(node->inputs[0]).shape.to_vector())
                                   : no_grad([&] { return call(operands); }).data();
    if (given.numel() > kMostKnown) return false;
    const NDArray value = given.contiguous();
    value_of_[node] = add_value({.shape = value.shape(), .dtype = value.dtype(), .is_constant = true, .value = value},
                                Source::constant);
    list_.constants.emplace_back(value_of_[node], in_step_order(value));
    if (depends_on_sizes) of_sizes_.insert(node);
    list_.node_shapes.emplace_back();
    note_sizes(node, list_.values[value_of_[node]].info);
    return true;
  }

  // Where a batch is divided, what merely says how a sample lies may follow from its size; all else must be the same
  // for a part.
  NodeCall with_known_attributes(const Node* node, const NodeCall& call) {
    const size_t count = call.num_attribute_inputs();
    std::vector<NDArray> values;
    for (const Node* input : std::span(node->inputs).last(count)) {
      values.push_back(known(input));
      check<ValueError>(values.back().defined(), "graph: an attribute of '", node->name, "' depends on what '",
                        input->name, "' computes");
      const bool says_how_it_lies = node->target == "reshape" || node->target == "broadcast_to";
      if (of_sizes_.contains(input) && !says_how_it_lies) list_.attributes_of_sizes.push_back(values.back());
    }
    return call.with_attributes(values);
  }

  void note_sizes(const Node* node, const ValueInfo& info) {
    const auto it = sizes_of_.find(node);
    if (it == sizes_of_.end()) return;
    it->second = info.as_usual();
    it->second.value = info.value;
  }

  // Whether a step in front of the node does its work, too.
  bool absorbed(const Node* node) {
    for (const Node* input : node->inputs) {
      if (!pending_.contains(input) || !absorb(input, node)) continue;
      Pending both = std::move(pending_.at(input));
      pending_.erase(input);
      hold_back(node, std::move(both));
      return true;
    }
    return false;
  }

  bool absorb(const Node* front, const Node* node) {
    Pending& pending = pending_.at(front);
    const ValueInfo info = pending.step->output();
    const std::optional<Following> next = following(graph_, *node, info);
    if (!next || node->inputs.size() != (next->adds ? 2 : 1)) return false;
    const Node* addend = next->adds ? node->inputs[node->inputs[0] == front ? 1 : 0] : nullptr;
    if (addend && info_of(addend).as_usual() != info) return false;
    if (!pending.step->absorb(*next, *pending.weights)) return false;
    if (addend) {
      const size_t value = in_usual_order(value_of(addend));
      pending_.at(front).inputs.push_back(value);
    }
    return true;
  }

  // Until its one reader's turn, if that may be absorbed. Others find the value there.
  void hold_back(const Node* node, Pending pending) {
    note_sizes(node, pending.step->output());
    list_.node_shapes.push_back(pending.step->output().shape);
    const auto readers = readers_.find(node);
    const bool has_one_reader = !graph_.is_output(node) && readers != readers_.end() && readers->second.size() == 1;
    if (has_one_reader && can_follow(graph_, *readers->second[0]))
      pending_.emplace(node, std::move(pending));
    else
      value_of_[node] = add_step(std::move(pending));
  }

  ValueInfo info_of(const Node* node) const {
    const auto it = pending_.find(node);
    return it != pending_.end() ? it->second.step->output() : list_.values[value_of_.at(node)].info;
  }

  size_t value_of(const Node* node) {
    if (const auto it = pending_.find(node); it != pending_.end()) {
      value_of_[node] = add_step(std::move(it->second));
      pending_.erase(it);
    }
    return value_of_.at(node);
  }

  size_t add_value(const ValueInfo& info, Source source) {
    list_.values.push_back({info, source, list_.values.size()});
    return list_.values.size() - 1;
  }

  size_t add_constant(const Node* node) {
    const NDArray& tensor = graph_.tensor(node).data();
    NDArray& array = shared_.constants[node];
    if (!array.defined()) array = in_step_order(tensor);
    ValueInfo info{.shape = tensor.shape(), .dtype = tensor.dtype(), .is_constant = true};
    if (tensor.numel() <= kMostKnown) info.value = tensor;
    const size_t value = add_value(info, Source::constant);
    list_.constants.emplace_back(value, array);
    note_sizes(node, info);
    return value;
  }

  size_t add_step(Pending&& pending) {
    InferenceStep& step = *pending.step;
    step.prepare(*pending.weights);
    const size_t value =
        step.is_view() ? add_value(step.output(), Source::view) : add_value(unknown(step.output()), Source::step);
    list_.per_sample = list_.per_sample && step.is_per_sample() && has_batch_first(step.output());
    for (size_t input : pending.inputs) {
      const ValueInfo& info = list_.values[input].info;
      const bool divides = info.is_constant ? step.is_per_sample_with_constants() : has_batch_first(info);
      list_.per_sample = list_.per_sample && divides;
    }
    list_.weight_bytes += step.weight_bytes();
    list_.scratch_bytes = std::max(list_.scratch_bytes, step.scratch_bytes());
    if (step.is_view())
      list_.values[value].base = list_.values[pending.inputs[0]].base;
    else
      list_.steps.push_back({std::move(pending.step), std::move(pending.inputs), value, std::move(pending.node)});
    return value;
  }

  // Of what a step computes nothing is known before it runs, even if its output is described as a constant input is.
  static ValueInfo unknown(ValueInfo info) {
    info.value = {};
    info.is_constant = false;
    return info;
  }

  size_t in_usual_order(size_t value) {
    if (list_.values[value].info.lies_as_usual()) return value;
    if (const auto it = in_usual_order_.find(value); it != in_usual_order_.end()) return it->second;
    return in_usual_order_[value] = add_step({usual_order_step(list_.values[value].info), {value}, &no_layers_});
  }

  SharedWeights* weights_of(const Node& node) {
    return node.kind == Node::Kind::layer ? &shared_.weights[&graph_.layer(&node)] : &no_layers_;
  }

  // What does not cannot be divided with the batch.
  bool has_batch_first(const ValueInfo& info) const {
    return info.shape.ndim() > 0 && inputs_[0].shape.ndim() > 0 && info.shape[0] == inputs_[0].shape[0];
  }

  std::vector<ValueInfo> infos_of(const std::vector<size_t>& values) const {
    std::vector<ValueInfo> infos;
    for (size_t value : values) infos.push_back(list_.values[value].info);
    return infos;
  }

  std::unique_ptr<InferenceStep> make_step(const NodeCall& call, const std::vector<ValueInfo>& infos) const {
    try {
      if (call.layer()) return layer_step(*call.layer(), infos);
      const StepFactory* factory = inference_step_factory(call.op());
      return factory ? (*factory)(call.attributes(), infos) : nullptr;
    } catch (const Error&) {
      return nullptr;  // the layer or op itself will say what is wrong, and its name
    }
  }

  // Layers know flattened images; few know views.
  std::unique_ptr<InferenceStep> layer_step(const Module& layer, const std::vector<ValueInfo>& infos) const {
    const bool has_views = std::ranges::any_of(infos, [](const ValueInfo& x) { return !x.strides.empty(); });
    if (has_views && !dynamic_cast<const ReadsViews*>(&layer)) return nullptr;
    return layer.inference_step(infos);
  }

  const Graph& graph_;
  const std::vector<ValueInfo>& inputs_;
  SharedState& shared_;
  SharedWeights no_layers_;
  StepList list_;
  // Of what the output needs, each as often as it reads: `x + x` reads x twice.
  std::unordered_map<const Node*, std::vector<const Node*>> readers_;
  std::unordered_map<const Node*, ValueInfo> sizes_of_;  // of what a node asks for the shape of
  std::unordered_set<const Node*> of_sizes_;             // what is known from sizes, not from constants alone
  std::unordered_map<const Node*, size_t> value_of_;
  std::unordered_map<const Node*, Pending> pending_;
  std::unordered_map<size_t, size_t> in_usual_order_;  // copies of values that lie otherwise
};

}  // namespace

NDArray in_step_order(const NDArray& x) { return x.ndim() == 4 ? to_channels_last(x) : x.contiguous(); }

NDArray in_step_order(const NDArray& x, const ValueInfo& info) {
  return info.strides.empty() ? in_step_order(x) : x.contiguous();
}

StepList single_step(std::unique_ptr<InferenceStep> step, std::span<const ValueInfo> inputs) {
  check(!step->is_view() && step->output().lies_as_usual(), "a step by itself must compute what it gives");
  StepList list;
  StepList::Step only{std::move(step), {}, inputs.size()};
  for (const ValueInfo& info : inputs) {
    only.inputs.push_back(list.values.size());
    list.inputs.push_back({str("input ", list.values.size()), list.values.size()});
    list.values.push_back({info, Source::argument, list.values.size()});
  }
  SharedWeights unshared;
  only.step->prepare(unshared);
  list.values.push_back({only.step->output(), Source::step, only.output});
  list.outputs.push_back({"output", only.output});
  list.scratch_bytes = only.step->scratch_bytes();
  list.steps.push_back(std::move(only));
  return list;
}

StepList make_steps(const Graph& graph, const std::vector<ValueInfo>& inputs, SharedState& shared) {
  return StepListBuilder(graph, inputs, shared).build();
}

}  // namespace thimble::nn
