// Sums over windows that may have gaps, and the pools that are made of them. Internal.
#pragma once

#include <memory>

#include <thimble/core/ops/pool_geometry.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// The sum of each window of x [n, c, h, w]; padding counts as 0. Differentiable.
Tensor window_sums(std::string_view op, const Tensor& x, const Pool2d& pool);

/// avg_pool2d of windows with gaps.
std::unique_ptr<Op> make_dilated_avg_pool2d(const Pool2d& pool, bool counts_padding);

}  // namespace thimble
