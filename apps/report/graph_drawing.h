// A graph as it is drawn: what each node computes with, and where it lies.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "apps/model_inputs.h"
#include <thimble/nn/graph/graph.h>

namespace thimble::apps {

/// {nodes: [{name, type, arithmetic, bits, shape, x, row}], edges: [{from, to, points: [[x, row]]}], width, rows}.
/// Inputs, layers and ops are drawn, tensors that ops read are not. `arithmetic` is what the node does with its input:
/// "input"; "integer"; "dynamic", integers of ranges that each call takes; "weight-only", integer weights and float
/// activations; "edge", from floats to integers or back; "float"; "index", sizes and other whole numbers that are no
/// activations. `bits` are those of integer weights, null elsewhere; `shape` that of the value of one sample.
nlohmann::json graph_drawing(const nn::Graph& graph, const std::vector<ModelInput>& inputs);

}  // namespace thimble::apps
