// Tracing: from a model, whatever its class, to its module graph.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// Runs the model (forward_outputs(), which is forward() for those that have one output) on the example in evaluation
/// mode and records each leaf layer it calls and each op it applies outside
/// of one; containers and users' models dissolve. The graph owns copies of the layers, in the modes they have in the
/// model, under the paths they have there ("block1.conv"); an op takes the path of the module that applies it. A layer
/// called twice is one layer of the graph; a layer's node says in its attribute "ndim" how many dimensions its output
/// has, which tells passes what rows and what sequences are. A tensor that two layers, or a layer and an op, share
/// becomes one for each.
///
/// A graph does the same for all inputs. So trace throws ValueError, saying where, if the model
/// - reads values that depend on its input outside of leaf layers and ops, on this thread, through data(), item(),
///   detach() or printing: whatever it does with them, a branch, a factor or nothing. Each such read is seen, none is
///   guessed from outputs; shape(), numel() and dtype() read no values, and parameters and buffers may be read;
/// - does something else when it is run again on other values, or computes another constant: what depends on a state or
///   on random numbers, or got at the values in a way of its own (a layer that keeps them). These two runs are all that
///   is tried: a difference that shows with other values only is not found;
/// - was given one sample and does something else for two, since a graph serves any number;
/// and if the graph's values on the example are not the model's.
THIMBLE_API Graph trace(Module& model, const Tensor& example);
THIMBLE_API Graph trace(Module& model, const std::vector<Tensor>& examples);

}  // namespace thimble::nn
