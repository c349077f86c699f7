// Passes that any graph profits from. A pass is a function Graph -> Graph that works on a copy.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// Without the nodes that the output does not depend on, and the layers and tensors that only those use. The graph's
/// inputs stay.
THIMBLE_API Graph eliminate_dead_nodes(const Graph& graph);

/// What ops and layers compute from tensors alone, without the graph's input, becomes a tensor under the node's name;
/// dead nodes are eliminated then. Not folded: ops that draw random numbers (dropout), layers in training mode or with
/// side effects and, unless the graph is in evaluation mode, what depends on a parameter that requires gradients.
/// Throws what an op or layer throws that does not take its tensors.
THIMBLE_API Graph fold_constants(const Graph& graph);

}  // namespace thimble::nn
