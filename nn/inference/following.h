// What nodes do to each value of the one in front of them, for steps that can do it on their way out: a product's
// epilogue adds, scales and clamps for nothing. Internal.
//
// A graph shows batch norm, add and relu as nodes of their own. Where one is the only reader of a value, the step that
// makes this value is asked to absorb it (InferenceStep::absorb).
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include <thimble/nn/graph/graph.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

/// x * scale + shift, a number for each index of dimension 1.
struct ChannelScale {
  const Module* layer;  // whose work it is
  std::vector<double> scale, shift;
};

/// y = clamp(x * scale + shift + addend, lower, upper). NaN stays NaN.
struct Following {
  std::shared_ptr<const ChannelScale> scale = nullptr;  ///< null: x as it is
  bool adds = false;                                    ///< whether there is an addend
  float lower = -std::numeric_limits<float>::infinity();
  float upper = std::numeric_limits<float>::infinity();

  /// Makes this what it does, followed by `next`; false, and as before, if that has no such form.
  bool append(const Following& next);
};

/// Whether following() may have an answer, for some inputs.
bool can_follow(const Graph& graph, const Node& node);

/// What the node does to an input like `x`; none if it is nothing of the kind.
std::optional<Following> following(const Graph& graph, const Node& node, const ValueInfo& x);

}  // namespace thimble::nn
