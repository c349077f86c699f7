// What follows from sizes becomes constants.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// A copy of the graph in which numbers that are computed with sizes, the same for any batch and size that the graph
/// takes, are constants: the 1 / sqrt(features) that attention's scores are multiplied by, in models from elsewhere.
/// The pass runs the graph on ones, of the sizes that its inputs remember (nn/graph/sample.h), of another batch, and of
/// twice each size; where they remember none, or it cannot run on ones, nothing changes.
THIMBLE_API nn::Graph fold_sizes(const nn::Graph& graph);

}  // namespace thimble::quant
