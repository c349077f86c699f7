// The executor runs a graph in evaluation mode for the price of its arithmetic: for each shape of input it makes a
// program once (steps, memory), and running a program allocates little but the answer.
#pragma once

#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/inference/batched_program.h>

namespace thimble::nn {

/// Programs of one graph as it was when the executor was made: who edits the graph makes a new one. Changes of its
/// tensors' values are noticed, as far as Tensor::version() tells. run() may be called from several threads at once.
///
/// Programs share packed weights and the memory that they run in, so that one more shape costs next to nothing: those
/// of the kMostShapes last used ones are kept.
class THIMBLE_API Executor {
 public:
  explicit Executor(const Graph& graph);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  static constexpr size_t kMostShapes = 256;

  /// Whether every layer is in evaluation mode and none has side effects.
  bool usable() const;

  /// The program for inputs of such shapes, and of these values where shapes depend on them, made if it is not there
  /// yet. That none can be made is remembered, too. Throws what a node of the graph says against them. `graph` is the
  /// one that the executor was made for, which may have moved.
  std::shared_ptr<const BatchedProgram> program_for(const Graph& graph, std::span<const Tensor> inputs);

  /// The values of graph.outputs(). Large batches are divided among the threads, and into parts whose values stay in
  /// cache, where the graph computes each sample by itself.
  void run(const BatchedProgram& program, std::span<const Tensor> inputs, std::span<Tensor> outputs) {
    program.run(inputs, outputs, memory_);
  }
  std::vector<Tensor> run(const Graph& graph, std::span<const Tensor> inputs);

 private:
  using Recent = std::list<std::shared_ptr<const BatchedProgram>>;

  // Inputs that no program can be made for.
  struct Refusal {
    std::vector<ValueInfo> inputs;
    std::exception_ptr reason;
  };

  std::shared_ptr<const BatchedProgram> make_program(const Graph& graph, std::span<const Tensor> inputs);
  void forget_if_changed();
  void forget_oldest();

  std::vector<bool> by_value_;  // of each input, whether shapes depend on its values
  std::vector<const Module*> layers_;
  std::vector<Tensor> tensors_;
  std::vector<uint64_t> versions_;
  std::mutex mutex_;
  SharedState shared_;
  Recent recent_;                                                // the one used last in front
  std::unordered_multimap<size_t, Recent::iterator> by_inputs_;  // by the inputs' hash
  std::vector<Refusal> refusals_;
  WorkMemory memory_;
};

}  // namespace thimble::nn
