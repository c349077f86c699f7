// Losses of classes that have weights, or of which each has a probability. Internal to core.
#pragma once

#include <memory>

#include <thimble/core/op.h>
#include <thimble/core/ops/loss.h>

namespace thimble {

/// Of log probabilities, targets and weights.
std::unique_ptr<Op> make_weighted_nll_loss(Reduction reduction, int64_t ignore_index);

/// cross_entropy() where options.weight is defined.
Tensor weighted_cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options);

/// cross_entropy() of targets that are probabilities.
Tensor cross_entropy_of_probabilities(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options);

}  // namespace thimble
