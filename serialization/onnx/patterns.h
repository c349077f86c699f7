// What exporters spell out in primitives, made what it is. Internal.
#pragma once

#include <unordered_map>

#include <thimble/nn/graph/graph.h>

namespace thimble::onnx {

/// How many dimensions nodes' values have.
using Ranks = std::unordered_map<const nn::Node*, int>;

/// Layer normalization, gelu, silu, hardswish and hardsigmoid: fused ones are faster, round less, and are what passes
/// know. Nodes that others read, too, stay.
void recognize_patterns(nn::Graph& graph, Ranks ranks);

}  // namespace thimble::onnx
