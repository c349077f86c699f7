// How differently two graphs classify, without labels.
#pragma once

#include <functional>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// Measures a graph against the outputs of `reference` for these batches: the mean Kullback-Leibler divergence of
/// softmax(its output) from softmax(reference's), over rows of logits [..., classes], in nats. It is at least 0, and 0
/// for the same classification. Where quantization errors are small it is a quadratic form of theirs, so that those of
/// layers that err independently add up; the loss against labels has a linear part, too, which hides small errors and
/// may be negative. Throws ValueError without batches.
THIMBLE_API std::function<double(nn::Graph&)> output_divergence(const nn::Graph& reference,
                                                                std::vector<Tensor> batches);

}  // namespace thimble::quant
