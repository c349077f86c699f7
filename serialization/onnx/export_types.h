// What the values of a graph are like, for those who export it. Internal.
#pragma once

#include <unordered_map>
#include <vector>

#include <thimble/core/dtype.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::onnx {

/// A value's dtype and sizes.
struct ValueType {
  static constexpr int64_t kBatch = -1;  ///< the number of samples
  static constexpr int64_t kFree = -2;   ///< follows from it, or from values

  DType dtype = DType::float32;
  std::vector<int64_t> sizes = {};

  int rank() const { return static_cast<int>(sizes.size()); }
};

using ValueTypes = std::unordered_map<const nn::Node*, ValueType>;

/// Of each node, found by running the graph on zeros, or ones if it cannot take zeros: on batches of one and two
/// samples, or on one alone, where that is all it takes; inputs that have a default, on that. Throws ValueError for an
/// input that does not say what it is like.
ValueTypes value_types(nn::Graph& graph);

}  // namespace thimble::onnx
