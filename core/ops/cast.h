// Conversion to another dtype.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// x with another dtype, converted as NDArray::to() says; x itself if it has the dtype. Gradients flow between floats
/// that carry them: float32, float64 and bfloat16.
THIMBLE_API Tensor cast(const Tensor& x, DType dtype);

}  // namespace thimble
