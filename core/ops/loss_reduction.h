// How losses turn one number per example into their result. Internal to core.
#pragma once

#include <thimble/core/ops/loss.h>

namespace thimble {

/// The losses themselves, their mean or their sum; `losses` is contiguous, and `count` of them are what the mean is
/// over. The mean of none is NaN.
NDArray reduce_losses(const NDArray& losses, Reduction reduction, int64_t count);

/// The gradient of each of the `count` losses, given that of the reduction: one number for all unless it is `none`.
Tensor gradient_of_losses(const Tensor& out_grad, Reduction reduction, int64_t count);

}  // namespace thimble
