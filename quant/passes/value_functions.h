// Ops that together are a function of one number, applied to each element of a value. Internal to quant.
//
//   sigmoid(x)      x * sigmoid(x)      clamp(x + 3, 0, 6) * x / 6      maximum(x, 0.2 * x)
//
// Between integers such a function is a table, however it is spelled and whatever it costs.
#pragma once

#include <unordered_map>
#include <vector>

#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

struct ValueFunction {
  std::vector<nn::Node*> nodes;  ///< the ops, each after its inputs; the last one gives the result
  nn::Node* reader = nullptr;    ///< one of them that reads the source
  size_t input = 0;              ///< as this input
  /// The value that it is a function of: the node that now stands there, if passes have replaced it.
  nn::Node* source() const { return reader->inputs[input]; }
  nn::Node* result() const { return nodes.back(); }
};

/// The functions of a graph, as large as they can be: each op belongs to one at most, and what is between a source and
/// a result is read by nobody else. Bounds alone (relu, clamp) are none: integers keep their parameters there.
class ValueFunctions {
 public:
  ValueFunctions() = default;
  /// Marked nodes are results only.
  explicit ValueFunctions(const nn::Graph& graph);

  /// Whether the op is one that functions are made of.
  static bool may_be_part(const nn::Node* node);

  /// The function whose result this is; null if it is none's.
  const ValueFunction* of(const nn::Node* result) const;
  /// The function that the node is a part of, its result or not; null if it is of none.
  const ValueFunction* around(const nn::Node* node) const;

 private:
  std::vector<ValueFunction> functions_;
  std::unordered_map<const nn::Node*, size_t> index_;  // of each node's function
};

/// The function's values at x, of any shape. The graph's ops and constants are as they were.
Tensor values_at(const nn::Graph& graph, const ValueFunction& function, const Tensor& x);

/// Whether nobody but the function reads its source.
bool alone_reads_source(const nn::Graph& graph, const ValueFunction& function);

}  // namespace thimble::quant
