// A graph, run node by node, as in training: everything is recorded, and tracers and observers see each call. What
// wants the answer alone takes the executor, see nn/inference/executor.h. Internal.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include <thimble/nn/graph/graph.h>
#include <thimble/nn/graph/node_call.h>

namespace thimble::nn {

/// Of a graph as it was when this was made: who edits the graph makes a new one. Owns what it runs, so that it may
/// outlive the graph.
class Interpreter {
 public:
  explicit Interpreter(const Graph& graph);

  /// The value of every node, in the order of graph.nodes(). This and the others throw ValueError for another number of
  /// inputs than the graph has.
  std::vector<Tensor> run_all(std::span<const Tensor> inputs) const { return run(inputs, true); }
  /// The values of the graph's outputs, in their order.
  std::vector<Tensor> outputs(std::span<const Tensor> inputs) const;
  /// The same in evaluation mode, whatever mode the layers are in meanwhile.
  std::vector<Tensor> evaluate(std::span<const Tensor> inputs) const;
  /// What the outputs may depend on besides the inputs: parameters and buffers.
  std::vector<Tensor> state_of_outputs() const;

 private:
  struct Step {
    std::optional<NodeCall> call;   // of a layer's or op's node
    Tensor tensor;                  // of a tensor's
    std::vector<size_t> inputs;     // an input has neither of the three
    std::vector<size_t> last_uses;  // values that nobody needs after this step
  };

  void find_last_uses();
  // Values by node; those that nobody needs any more are gone unless all shall be kept.
  std::vector<Tensor> run(std::span<const Tensor> inputs, bool keep_all) const;

  std::vector<Step> steps_;
  std::vector<size_t> outputs_;
  size_t num_inputs_ = 0;
  mutable std::mutex evaluating_;  // the layers' modes are changed
};

}  // namespace thimble::nn
