// The inference step of Conv2d and the layers derived from it. Internal.
#pragma once

#include <thimble/core/ops/conv.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

/// The convolution, with relu above 0; bias may be undefined. Null for an input that it cannot take.
std::unique_ptr<InferenceStep> conv2d_step(const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                                           bool relu, std::span<const ValueInfo> inputs);

}  // namespace thimble::nn
