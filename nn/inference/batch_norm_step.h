// The inference step of batch normalization that no product in front of it can absorb. Internal.
#pragma once

#include <thimble/nn/inference/inference.h>
#include <thimble/nn/layers/batch_norm.h>

namespace thimble::nn {

/// The layer as what normalizes x by its running statistics. Null if it does not take x, and for one that a user
/// derived from BatchNorm, which may compute something else.
const BatchNorm* batch_norm_of(const Module& layer, const ValueInfo& x);

/// Null for an input that it cannot take.
std::unique_ptr<InferenceStep> batch_norm_step(const BatchNorm& layer, std::span<const ValueInfo> inputs);

}  // namespace thimble::nn
