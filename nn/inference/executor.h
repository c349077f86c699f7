// The executor runs a graph in evaluation mode for the price of its arithmetic: for each shape of input it makes a
// program once (steps, memory), and running a program allocates little but the answer.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/inference/program.h>

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

  static constexpr size_t kMostInputs = 8;
  static constexpr size_t kMostShapes = 256;

  /// Whether every layer is in evaluation mode and none has side effects.
  bool usable() const;

  /// The graph's output. Large batches are divided among the threads, and into parts whose values stay in cache, where
  /// the graph computes each sample by itself. `graph` is the one that the executor was made for, which may have moved.
  Tensor run(const Graph& graph, std::span<const Tensor> inputs);

 private:
  // How a batch is run: in parts of one size, of which the last may be smaller.
  struct Division {
    std::vector<ValueInfo> inputs;
    int64_t part = 0, parts = 1;
    std::shared_ptr<const Program> program, last;
  };
  using Recent = std::list<std::shared_ptr<const Division>>;

  std::shared_ptr<const Division> division_for(const Graph& graph, std::span<const Tensor> inputs);
  std::shared_ptr<const Division> divide(const Graph& graph, const std::vector<ValueInfo>& inputs);
  void forget_if_changed();
  void forget_oldest();

  std::vector<const Module*> layers_;
  std::vector<Tensor> tensors_;
  std::vector<uint64_t> versions_;
  std::mutex mutex_;
  SharedState shared_;
  Recent recent_;                                                // the one used last in front
  std::unordered_multimap<size_t, Recent::iterator> by_inputs_;  // by the inputs' hash
  WorkMemory memory_;
};

}  // namespace thimble::nn
