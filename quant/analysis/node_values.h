// What the integers of a quantized graph stand for. Internal.
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// The parameters of the integers that a node gives: integer layers say them, other nodes pass their input's on. None
/// for a node that gives other values.
THIMBLE_API std::optional<TensorQParams> qparams_of(const nn::Graph& graph, const nn::Node* node);

/// A node's value as float32; undefined for other kinds of values, such as indices.
THIMBLE_API NDArray as_floats(const nn::Graph& graph, const nn::Node* node, const NDArray& value);

/// What an integer layer's weights stand for; undefined for other nodes.
THIMBLE_API NDArray dequantized_weight_of(const nn::Graph& graph, const nn::Node* node);

}  // namespace thimble::quant
