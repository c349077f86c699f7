// The executor runs a graph in evaluation mode for the price of its arithmetic: for each shape of input it makes a
// program once (steps, memory), and running a program allocates nothing but the answer.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

/// Programs of one graph as it was when the executor was made: who edits the graph makes a new one. Changes of its
/// tensors' values are noticed, as far as Tensor::version() tells. run() may be called from several threads at once.
class THIMBLE_API Executor {
 public:
  explicit Executor(const Graph& graph);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  static constexpr size_t kMostInputs = 8;

  /// Whether every layer is in evaluation mode and none has side effects.
  bool usable() const;

  /// The graph's output. Large batches are divided among the threads, and into parts whose values stay in cache, where
  /// the graph computes each sample by itself. `graph` is the one that the executor was made for, which may have moved.
  Tensor run(const Graph& graph, std::span<const Tensor> inputs);

 private:
  class Program;

  // How a batch is run: in parts of one size, of which the last may be smaller.
  struct Division {
    std::vector<ValueInfo> inputs;
    int64_t part = 0, parts = 1;
    std::shared_ptr<Program> program, last;
  };

  std::shared_ptr<const Division> division_for(const Graph& graph, std::span<const Tensor> inputs);
  static std::shared_ptr<const Division> divide(const Graph& graph, const std::vector<ValueInfo>& inputs);
  void forget_if_changed();

  std::vector<const Module*> layers_;
  std::vector<Tensor> tensors_;
  std::vector<uint64_t> versions_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Division>> divisions_;  // the one used last in front
};

}  // namespace thimble::nn
