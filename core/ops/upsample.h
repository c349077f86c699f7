// Upsampling of images.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/pair.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Repeats each pixel: x [n, c, h, w] -> [n, c, h * scale.height, w * scale.width], channels-last in memory. Throws
/// ShapeError for an input that is not of four dimensions, ValueError for a scale below 1.
THIMBLE_API Tensor upsample_nearest2d(const Tensor& x, Pair scale);

}  // namespace thimble
