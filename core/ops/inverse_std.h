// What the gradients of normalizations share. Internal to core.
#pragma once

#include <thimble/core/tensor.h>

namespace thimble {

/// 1 / sqrt(mean of centred^2 over `axes` + eps), with the axes kept at size 1; differentiable. Also right where
/// squares would overflow.
Tensor inverse_std(const Tensor& centred, const Shape& axes, double eps);

}  // namespace thimble
