// The inference step of ConvTranspose2d. Internal.
#pragma once

#include <thimble/core/ops/conv.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

/// For kernels as large as their stride; null for others, and for an input that it cannot take. bias may be undefined.
std::unique_ptr<InferenceStep> conv_transpose2d_step(const Tensor& weight, const Tensor& bias,
                                                     const Conv2dOptions& options, Pair output_padding,
                                                     std::span<const ValueInfo> inputs);

}  // namespace thimble::nn
