// Attributes of ops that are values of other nodes: the shape of a reshape, the bounds of a slice. ONNX's models have
// them, where sizes are free. Internal.
//
//   Node* sizes = graph.add_op("sizes", "shape", {}, {y});
//   graph.add_op("like_y", "reshape", {{kAttributeInputs, "shape"}}, {x, sizes});
//
// Where such a value follows from sizes alone, the executor knows it when it makes a program, which then runs as if the
// attribute had been there. Else the graph runs node by node.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// The attribute of a node that names others, separated by commas, which its last inputs hold, in this order.
inline constexpr const char* kAttributeInputs = "attribute_inputs";

/// The names. Throws FormatError for an empty one, or more than the node has inputs.
THIMBLE_API std::vector<std::string> attribute_inputs(const Node& node);

/// The other inputs, which come first.
std::span<Node* const> operands_of(const Node& node);

Attributes without_attribute_inputs(const Attributes& attributes);

/// Of each of the graph's inputs, whether attributes depend on its values.
std::vector<bool> inputs_that_are_attributes(const Graph& graph);

}  // namespace thimble::nn
