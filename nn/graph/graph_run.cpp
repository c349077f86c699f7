// How a graph is called: on the executor, or node by node.
#include <algorithm>
#include <atomic>

#include <thimble/core/autocast.h>
#include <thimble/core/small_array.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/graph/interpreter.h>
#include <thimble/nn/graph/recomputed.h>
#include <thimble/nn/inference/executor.h>

namespace thimble::nn {

/// What is made of a graph on its first call after an edit. Outlives it where a backward() needs it.
struct Graph::Runners {
  explicit Runners(const Graph& graph) : interpreter(graph), executor(graph), state(interpreter.state_of_outputs()) {
    for (const Node* input : graph.inputs()) defaults.push_back(graph.default_of(input));
  }

  // What is given stands for the first inputs; the others have defaults.
  std::vector<Tensor> with_defaults(std::span<const Tensor> given) const {
    std::vector<Tensor> all(given.begin(), given.end());
    for (size_t i = given.size(); i < defaults.size(); ++i) {
      check<ValueError>(defaults[i].defined(), "graph: takes ", defaults.size(), " inputs, got ", given.size());
      all.push_back(defaults[i]);
    }
    return all;
  }

  Interpreter interpreter;
  mutable Executor executor;     // which locks what changes
  std::vector<Tensor> state;     // what the output depends on
  std::vector<Tensor> defaults;  // of each input; undefined for one that must be given
  /// Whether somebody called backward() through an answer of the executor, which then had to be computed again.
  mutable std::atomic<bool> is_trained{false};
};

std::shared_ptr<const Graph::Runners> Graph::runners() const {
  check_not_moved_from();
  std::lock_guard lock(*runners_mutex_);
  if (*runners_) return *runners_;
  verify();
  return *runners_ = std::make_shared<Runners>(*this);
}

// On the executor, unless gradients of an input are wanted, or no program can be made: then a node says why. With
// parameters that want gradients the answer is recorded as a function of them, which is computed again if somebody
// calls backward(): who does will do so again, and gets recorded runs from then on.
void Graph::compute(std::span<const Tensor> inputs, std::span<Tensor> outputs) {
  const std::shared_ptr<const Runners> r = runners();
  if (inputs.size() < r->defaults.size()) return compute(r->with_defaults(inputs), outputs);
  const auto want_gradients = [](std::span<const Tensor> tensors) {
    return grad_enabled() && std::ranges::any_of(tensors, &Tensor::requires_grad);
  };
  const auto node_by_node = [&] { std::ranges::move(r->interpreter.outputs(inputs), outputs.begin()); };
  const bool records = want_gradients(r->state);
  const bool is_mixed = autocast_dtype() != DType::float32;  // programs are of float32
  if (training() || is_mixed || call_listener() || want_gradients(inputs) || (records && r->is_trained) ||
      !r->executor.usable())
    return node_by_node();
  std::shared_ptr<const BatchedProgram> program;
  try {
    program = r->executor.program_for(*this, inputs);
  } catch (const Error&) {
    return node_by_node();
  }
  r->executor.run(*program, inputs, outputs);
  if (!records) return;
  std::vector<Tensor> given(inputs.begin(), inputs.end()), all = r->state;
  all.insert(all.end(), inputs.begin(), inputs.end());
  for (size_t i = 0; i < outputs.size(); ++i)
    outputs[i] = recomputed_in_backward(outputs[i].data(), all, [r, given, i] {
      const Autocast in_full(DType::float32);
      r->is_trained = true;
      return r->interpreter.evaluate(given)[i];
    });
}

Tensor Graph::forward_all(std::span<const Tensor> inputs) {
  SmallArray<Tensor> outputs(outputs_.size());
  compute(inputs, outputs);
  return std::move(outputs[0]);
}

std::vector<Tensor> Graph::forward_outputs(std::span<const Tensor> inputs) {
  std::vector<Tensor> outputs(outputs_.size());
  compute(inputs, outputs);
  return outputs;
}

NamedTensors Graph::run(const NamedTensors& given) {
  std::vector<Tensor> inputs;
  for (const Node* input : this->inputs()) {
    const auto it = std::ranges::find(given, input->name, &NamedTensors::value_type::first);
    inputs.push_back(it == given.end() ? default_of(input) : it->second);
    check<ValueError>(inputs.back().defined(), "graph: there is no tensor for the input '", input->name, "'");
  }
  for (auto it = given.begin(); it != given.end(); ++it) {
    const Node* input = find(it->first);
    check<ValueError>(input && input->kind == Node::Kind::input, "graph: there is no input '", it->first, "'");
    check<ValueError>(std::ranges::find(given, it->first, &NamedTensors::value_type::first) == it, "graph: the input '",
                      it->first, "' is given twice");
  }
  std::vector<Tensor> values = call_outputs(inputs);
  NamedTensors named;
  for (size_t i = 0; i < outputs_.size(); ++i) named.emplace_back(outputs_[i].name, std::move(values[i]));
  return named;
}

std::vector<Tensor> Graph::run_all(std::span<const Tensor> inputs) {
  const std::shared_ptr<const Runners> r = runners();
  return r->interpreter.run_all(inputs.size() < r->defaults.size() ? r->with_defaults(inputs)
                                                                   : std::vector<Tensor>(inputs.begin(), inputs.end()));
}

}  // namespace thimble::nn
