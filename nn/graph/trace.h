// Tracing: from a model, whatever its class, to its module graph.
#pragma once

#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// Runs the model on the example in evaluation mode and records each leaf layer it calls and each op it applies outside
/// of one; containers and users' models dissolve. The graph owns copies of the layers, in the modes they have in the
/// model, under the paths they have there ("block1.conv"); an op takes the path of the module that applies it. A layer
/// called twice is one layer of the graph; a layer's node says in its attribute "ndim" how many dimensions its output
/// has, which tells passes what rows and what sequences are. A tensor that two layers, or a layer and an op, share
/// becomes one for each.
///
/// The model is run a second time on other values, and the graph on the example. Throws ValueError, saying where, if
/// the two runs differ in structure (control flow that depends on the values), if a value that depends on the input was
/// computed outside of Thimble's ops (it would become a constant), or if the graph's output is not the model's. An
/// example of one sample is also tried as two: an op that depends on their number is refused, since a graph serves any.
Graph trace(Module& model, const Tensor& example);
Graph trace(Module& model, const std::vector<Tensor>& examples);

}  // namespace thimble::nn
