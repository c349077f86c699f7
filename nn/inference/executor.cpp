#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <unordered_map>

#include <thimble/core/memory.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/inference/fallback_steps.h>
#include <thimble/nn/inference/memory_plan.h>

namespace thimble::nn {

namespace {

// The values of a part of a batch should stay in a core's second level cache.
constexpr int64_t kPartBytes = 768 * 1024;
constexpr size_t kMostDivisions = 16;

// As steps want it: dense, and images channels-last.
NDArray in_step_order(const NDArray& x) { return x.ndim() == 4 ? to_channels_last(x) : x.contiguous(); }

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

ValueInfo info_of(const NDArray& x) { return {x.shape(), x.dtype()}; }

std::vector<ValueInfo> with_batch(std::vector<ValueInfo> inputs, int64_t batch) {
  for (ValueInfo& info : inputs) info.shape[0] = batch;
  return inputs;
}

}  // namespace

/// The steps for inputs of known shapes, and the memory that they work in.
class Executor::Program {
 public:
  Program(const Graph& graph, const std::vector<ValueInfo>& inputs) : inputs_(inputs) {
    std::unordered_map<const Node*, size_t> value_of;
    size_t next_input = 0;
    for (const Node* node : graph.nodes()) {
      if (node->kind == Node::Kind::input) {
        check<ValueError>(next_input < inputs_.size(), "graph: takes more inputs than the ", inputs_.size(), " given");
        const ValueInfo& info = inputs_[next_input++];
        value_of[node] = add_value(info, Source::argument);
        per_sample_ = per_sample_ && has_batch_first(info);  // one that no node uses is divided with the others, too
      } else if (node->kind == Node::Kind::tensor) {
        value_of[node] = add_constant(graph.tensor(node).data());
      } else {
        std::vector<size_t> arguments;
        for (const Node* input : node->inputs) arguments.push_back(value_of.at(input));
        value_of[node] = add_node(graph, *node, std::move(arguments));
      }
    }
    check<ValueError>(next_input == inputs_.size(), "graph: takes ", next_input, " inputs, got ", inputs_.size());
    output_ = unflattened(value_of.at(graph.output()));
    per_sample_ = per_sample_ && values_[output_].source != Source::constant;
    place_values();
  }

  /// The most samples that a part of the batch should have; 0 if the batch must not be divided.
  int64_t part_size() const {
    if (!per_sample_ || inputs_[0].shape[0] < 2) return 0;
    const int64_t batch = inputs_[0].shape[0];
    // Without need each thread would read all weights: better divide each step.
    if (memory_bytes_ < weight_bytes_) return 0;
    return std::max<int64_t>(1, kPartBytes / (memory_bytes_ / batch + 1));
  }

  const ValueInfo& output() const { return values_[output_].info; }

  /// Runs all steps. arguments and output are in step order, dense.
  void run(std::span<const void* const> arguments, void* output) {
    std::unique_ptr<Memory> memory = borrow_memory();
    std::vector<void*>& at = memory->at;
    if (values_[output_].source == Source::step) at[output_] = output;
    for (size_t i = 0, next = 0; i < values_.size(); ++i) {
      if (values_[i].source == Source::argument) at[i] = const_cast<void*>(arguments[next++]);
      if (values_[i].source == Source::view) at[i] = at[values_[i].base];
    }
    for (const Step& step : steps_) {
      std::array<const void*, kMostOperands> few;
      for (size_t i = 0; i < step.inputs.size(); ++i) few[i] = at[step.inputs[i]];
      step.step->run(std::span(few.data(), step.inputs.size()), at[step.output], memory->scratch);
    }
    if (values_[output_].source != Source::step)
      std::memcpy(output, at[output_], static_cast<size_t>(values_[output_].info.nbytes()));
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(memory));
  }

 private:
  static constexpr size_t kMostOperands = 64;
  enum class Source { argument, constant, step, view };

  struct Value {
    ValueInfo info;
    Source source;
    size_t base;  // the value whose memory it is: its own, or what it is a view of
  };
  struct Step {
    std::unique_ptr<InferenceStep> step;
    std::vector<size_t> inputs;
    size_t output;
  };
  struct Memory {
    std::shared_ptr<void> block;
    uint8_t* scratch;
    std::vector<void*> at;  // of each value
  };

  size_t add_value(const ValueInfo& info, Source source) {
    values_.push_back({info, source, values_.size()});
    return values_.size() - 1;
  }

  size_t add_constant(const NDArray& array) {
    const size_t value = add_value({array.shape(), array.dtype()}, Source::constant);
    constants_.emplace_back(value, in_step_order(array));
    return value;
  }

  size_t add_node(const Graph& graph, const Node& node, std::vector<size_t> arguments) {
    check<ValueError>(arguments.size() <= kMostOperands, "graph: '", node.name, "' has more than ", kMostOperands,
                      " inputs");
    std::unique_ptr<InferenceStep> step = make_step(graph, node, arguments);
    if (!step) {
      for (size_t& argument : arguments) argument = unflattened(argument);
      step = make_step(graph, node, arguments);
    }
    if (!step) {
      const std::vector<ValueInfo> infos = infos_of(arguments);
      step = node.kind == Node::Kind::layer ? call_step(graph.layer(&node), infos)
                                            : op_step(node.target, node.attributes, infos);
    }
    return add_step(std::move(step), std::move(arguments));
  }

  size_t add_step(std::unique_ptr<InferenceStep> step, std::vector<size_t> arguments) {
    const size_t value = add_value(step->output(), step->is_view() ? Source::view : Source::step);
    per_sample_ = per_sample_ && step->is_per_sample() && has_batch_first(step->output());
    for (size_t argument : arguments)
      per_sample_ =
          per_sample_ && values_[argument].source != Source::constant && has_batch_first(values_[argument].info);
    weight_bytes_ += step->weight_bytes();
    scratch_bytes_ = std::max(scratch_bytes_, step->scratch_bytes());
    if (step->is_view())
      values_[value].base = values_[arguments[0]].base;
    else
      steps_.push_back({std::move(step), std::move(arguments), value});
    return value;
  }

  // What does not cannot be divided with the batch.
  bool has_batch_first(const ValueInfo& info) const {
    return info.shape.ndim() > 0 && inputs_[0].shape.ndim() > 0 && info.shape[0] == inputs_[0].shape[0];
  }

  std::vector<ValueInfo> infos_of(const std::vector<size_t>& values) const {
    std::vector<ValueInfo> infos;
    for (size_t value : values) infos.push_back(values_[value].info);
    return infos;
  }

  std::unique_ptr<InferenceStep> make_step(const Graph& graph, const Node& node,
                                           const std::vector<size_t>& arguments) const {
    const std::vector<ValueInfo> infos = infos_of(arguments);
    try {
      if (node.kind == Node::Kind::layer) return graph.layer(&node).inference_step(infos);
      const StepFactory* factory = inference_step_factory(node.target);
      return factory ? (*factory)(node.attributes, infos) : nullptr;
    } catch (const Error&) {
      return nullptr;  // the layer or op itself will say what is wrong, and its name
    }
  }

  size_t unflattened(size_t value) {
    if (values_[value].info.flattened_image.empty()) return value;
    return add_step(unflatten_step(values_[value].info), {value});
  }

  void place_values() {
    std::vector<Lifetime> lifetimes(values_.size());
    for (size_t i = 0; i < steps_.size(); ++i) {
      const size_t output = steps_[i].output;
      lifetimes[output] = {output == output_ ? 0 : values_[output].info.nbytes(), i, i};
      for (size_t input : steps_[i].inputs) lifetimes[values_[input].base].last = i;
    }
    if (values_[output_].source == Source::view) lifetimes[values_[output_].base].last = steps_.size();
    for (size_t i = 0; i < values_.size(); ++i)
      if (values_[i].source != Source::step) lifetimes[i].bytes = 0;
    MemoryPlan plan = plan_memory(lifetimes);
    offsets_ = std::move(plan.offsets);
    scratch_offset_ = (plan.bytes + 63) / 64 * 64;
    memory_bytes_ = scratch_offset_ + scratch_bytes_;
  }

  std::unique_ptr<Memory> borrow_memory() {
    {
      std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<Memory> memory = std::move(free_.back());
        free_.pop_back();
        return memory;
      }
    }
    auto memory = std::make_unique<Memory>();
    memory->block = allocate(static_cast<size_t>(std::max<int64_t>(memory_bytes_, 1)));
    auto* base = static_cast<uint8_t*>(memory->block.get());
    memory->scratch = base + scratch_offset_;
    memory->at.resize(values_.size());
    for (size_t i = 0; i < values_.size(); ++i) memory->at[i] = base + offsets_[i];
    for (auto& [value, array] : constants_) memory->at[value] = array.raw();
    return memory;
  }

  std::vector<ValueInfo> inputs_;
  std::vector<Value> values_;
  std::vector<Step> steps_;
  std::vector<std::pair<size_t, NDArray>> constants_;
  size_t output_ = 0;
  bool per_sample_ = true;
  int64_t weight_bytes_ = 0, scratch_bytes_ = 0, scratch_offset_ = 0, memory_bytes_ = 0;
  std::vector<int64_t> offsets_;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Memory>> free_;
};

Executor::Executor(const Graph& graph) {
  for (const auto& [path, layer] : graph.children()) layers_.push_back(layer.get());
  for (const auto& [path, tensor] : graph.state()) {
    tensors_.push_back(tensor);
    versions_.push_back(tensor.version());
  }
}

Executor::~Executor() = default;

bool Executor::usable() const {
  return std::ranges::none_of(layers_,
                              [](const Module* layer) { return layer->training() || layer->has_side_effects(); });
}

void Executor::forget_if_changed() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].version() == versions_[i]) continue;
    divisions_.clear();
    versions_[i] = tensors_[i].version();
  }
}

std::shared_ptr<const Executor::Division> Executor::divide(const Graph& graph, const std::vector<ValueInfo>& inputs) {
  auto whole = std::make_shared<Program>(graph, inputs);
  const int64_t batch = inputs[0].shape.ndim() > 0 ? inputs[0].shape[0] : 1, most = whole->part_size();
  // Parts of nearly equal size, as many for each thread.
  const int64_t threads = num_threads(), per_thread = most == 0 ? 0 : ceil_div(ceil_div(batch, most), threads);
  const int64_t part = most == 0 ? batch : ceil_div(batch, per_thread * threads);
  if (part == batch) return std::make_shared<Division>(Division{inputs, batch, 1, whole, whole});
  auto program = std::make_shared<Program>(graph, with_batch(inputs, part));
  const int64_t rest = batch % part;
  auto last = rest == 0 ? program : std::make_shared<Program>(graph, with_batch(inputs, rest));
  return std::make_shared<Division>(Division{inputs, part, (batch + part - 1) / part, program, last});
}

std::shared_ptr<const Executor::Division> Executor::division_for(const Graph& graph, std::span<const Tensor> inputs) {
  std::lock_guard lock(mutex_);
  forget_if_changed();
  const auto fits = [&](const auto& division) {
    return std::ranges::equal(division->inputs, inputs, {}, {}, [](const Tensor& x) { return info_of(x.data()); });
  };
  if (const auto it = std::ranges::find_if(divisions_, fits); it != divisions_.end()) {
    std::rotate(divisions_.begin(), it, it + 1);
    return divisions_.front();
  }
  std::vector<ValueInfo> infos;
  for (const Tensor& x : inputs) infos.push_back(info_of(x.data()));
  if (divisions_.size() == kMostDivisions) divisions_.pop_back();
  return *divisions_.insert(divisions_.begin(), divide(graph, infos));
}

Tensor Executor::run(const Graph& graph, std::span<const Tensor> inputs) {
  check<ValueError>(!inputs.empty() && inputs.size() <= kMostInputs, "graph: takes 1 to ", kMostInputs, " inputs, got ",
                    inputs.size());
  std::array<NDArray, kMostInputs> arrays;
  std::ranges::transform(inputs, arrays.begin(), [](const Tensor& x) { return in_step_order(x.data()); });
  const std::shared_ptr<const Division> division = division_for(graph, inputs);
  const int64_t parts = division->parts, part = division->part;

  ValueInfo info = division->program->output();
  if (parts > 1) info.shape[0] = inputs[0].shape(0);
  const Shape& s = info.shape;
  NDArray output(info.is_image() ? Shape{s[0], s[2], s[3], s[1]} : s, info.dtype);
  // Bytes of a part of an array.
  const auto stride_of = [&](const NDArray& x) { return parts > 1 ? x.nbytes() / x.shape(0) * part : 0; };
  // A thread takes the next part when it is done with one: some are slower than others.
  std::atomic<int64_t> next{0};
  parallel_for(std::min<int64_t>(parts, num_threads()), 1, [&](int64_t, int64_t) {
    const NoGrad guard;  // on this thread, too
    std::array<const void*, kMostInputs> arguments;
    for (int64_t p = next++; p < parts; p = next++) {
      for (size_t i = 0; i < inputs.size(); ++i)
        arguments[i] = static_cast<const char*>(std::as_const(arrays[i]).raw()) + p * stride_of(arrays[i]);
      Program& program = p + 1 == parts ? *division->last : *division->program;
      program.run(std::span(arguments).first(inputs.size()), static_cast<char*>(output.raw()) + p * stride_of(output));
    }
  });
  return info.is_image() ? from_channels_last(output) : output;
}

}  // namespace thimble::nn
