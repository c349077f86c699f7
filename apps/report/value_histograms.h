// How the weights and activations of a graph are distributed, and what of them integers cut off.
#pragma once

#include <span>

#include <nlohmann/json_fwd.hpp>

#include <thimble/nn/graph/graph.h>

namespace thimble::apps {

/// A row for each layer with weights of two dimensions or more, in the order of the graph: {name, type, bits, low,
/// width, counts, min, max}. Bin i of `counts` holds the values from low + i * width on. `bits` is null for floats; of
/// integers, what they stand for is counted.
nlohmann::json weight_histograms(const nn::Graph& graph);

/// A row for each layer and op that computes floats or integers, of their values for these batches: {name, type, bits,
/// low, width, counts, min, max, range, at_low, at_high, reference, below, above}. `range` is what the integers can
/// stand for, at_low and at_high the share of values at its ends, at_low null where that end is 0, where most functions
/// that clamp end; all null for floats.
///
/// With `reference`, a float graph, those of its nodes that have the same name give `reference`, {low, width, counts,
/// min, max}, and the shares `below` and `above` of its values that are beyond the range; null otherwise.
nlohmann::json activation_histograms(const nn::Graph& graph, std::span<const Tensor> batches,
                                     const nn::Graph* reference);

}  // namespace thimble::apps
