// The inference step of Linear and the layers derived from it. Internal.
#pragma once

#include <thimble/core/tensor.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

/// x W^T + bias (which may be undefined), with relu above 0; null for an input that it cannot take.
std::unique_ptr<InferenceStep> linear_step(const Tensor& weight, const Tensor& bias, bool relu,
                                           std::span<const ValueInfo> inputs);

/// A weight [out, in] for an input whose elements lie in the order that `input` tells: the columns in that order.
NDArray weight_in_order(const NDArray& weight, const ValueInfo& input);

}  // namespace thimble::nn
