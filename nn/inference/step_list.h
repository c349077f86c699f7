// A graph's nodes as steps for inputs of known shapes: what a program runs.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <thimble/nn/graph/graph.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/inference/shared_weights.h>

namespace thimble::nn {

/// What the programs of an executor have in common, whatever their shapes.
struct SharedState {
  std::unordered_map<const Module*, SharedWeights> weights;  // of each layer
  std::unordered_map<const Node*, NDArray> constants;        // of each tensor's node, in the order of steps
};

/// Steps in the order in which they run, over numbered values.
struct StepList {
  static constexpr size_t kMostOperands = 65;

  enum class Source { argument, constant, step, view };
  /// What a step reads or makes.
  struct Value {
    ValueInfo info;
    Source source;
    size_t base;  // the value whose memory it is: its own, or what it is a view of
  };
  /// A value that is given or taken, and the name by which users know it.
  struct Named {
    std::string name;
    size_t value;
  };
  /// What is run, on which values.
  struct Step {
    std::unique_ptr<InferenceStep> step;
    std::vector<size_t> inputs;
    size_t output;
    std::string node = {};  // whose work it is, with that of nodes that follow; empty: none's, it lays a value out anew
  };

  std::vector<Value> values;
  std::vector<Step> steps;  // those that compute something
  std::vector<std::pair<size_t, NDArray>> constants;
  std::vector<Named> inputs, outputs;
  std::vector<NDArray> attributes_of_sizes;  // that follow from sizes, and must be the same for parts of a batch
  std::vector<Shape> node_shapes;  // of what each node gives, in their order; {} for what is known before anything runs
  bool per_sample = true;          ///< each sample is computed by itself, so that the batch may be divided
  int64_t weight_bytes = 0, scratch_bytes = 0;
};

/// As steps want an array: dense, and images channels-last.
NDArray in_step_order(const NDArray& x);
/// As a program's input, which `info` describes: images in row-major order where it has strides.
NDArray in_step_order(const NDArray& x, const ValueInfo& info);

/// One layer's step alone, from inputs like these to its output.
StepList single_step(std::unique_ptr<InferenceStep> step, std::span<const ValueInfo> inputs);

/// The graph's steps. Where a node does something to the value in front of it, which nobody else reads, that the
/// value's own step can do on its way out, both are one step, which runs in the place of the last of its nodes. Throws
/// ValueError for inputs of another number than the graph takes, and what a layer or op says against its own.
StepList make_steps(const Graph& graph, const std::vector<ValueInfo>& inputs, SharedState& shared);

}  // namespace thimble::nn
