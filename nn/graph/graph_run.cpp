// How a graph is called: on the executor, or node by node.
#include <algorithm>
#include <atomic>

#include <thimble/nn/graph/graph.h>
#include <thimble/nn/graph/interpreter.h>
#include <thimble/nn/graph/recomputed.h>
#include <thimble/nn/inference/executor.h>

namespace thimble::nn {

/// What is made of a graph on its first call after an edit. Outlives it where a backward() needs it.
struct Graph::Runners {
  explicit Runners(const Graph& graph) : interpreter(graph), executor(graph), state(interpreter.state_of_outputs()) {}

  Interpreter interpreter;
  mutable Executor executor;  // which locks what changes
  std::vector<Tensor> state;  // what the output depends on
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
Tensor Graph::forward_all(std::span<const Tensor> inputs) {
  const std::shared_ptr<const Runners> r = runners();
  const auto want_gradients = [](std::span<const Tensor> tensors) {
    return grad_enabled() && std::ranges::any_of(tensors, &Tensor::requires_grad);
  };
  const auto node_by_node = [&] { return r->interpreter.outputs(inputs).front(); };
  const bool records = want_gradients(r->state);
  if (training() || call_listener() || want_gradients(inputs) || (records && r->is_trained) || !r->executor.usable())
    return node_by_node();
  std::shared_ptr<const BatchedProgram> program;
  try {
    program = r->executor.program_for(*this, inputs);
  } catch (const Error&) {
    return node_by_node();
  }
  Tensor y;
  r->executor.run(*program, inputs, std::span(&y, 1));
  if (!records) return y;
  std::vector<Tensor> given(inputs.begin(), inputs.end()), all = r->state;
  all.insert(all.end(), inputs.begin(), inputs.end());
  return recomputed_in_backward(y.data(), std::move(all), [r, given = std::move(given)] {
    r->is_trained = true;
    return r->interpreter.evaluate(given).front();
  });
}

std::vector<Tensor> Graph::run_all(std::span<const Tensor> inputs) { return runners()->interpreter.run_all(inputs); }

}  // namespace thimble::nn
