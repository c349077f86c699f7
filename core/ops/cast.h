// Conversion to another dtype.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// x with another dtype, converted as NDArray::to() says; x itself if it has the dtype. Gradients flow between floats
/// that carry them: float32, float64 and bfloat16.
THIMBLE_API Tensor cast(const Tensor& x, DType dtype);
/// x with other's dtype, as PyTorch's type_as; of other nothing else counts.
THIMBLE_API Tensor type_as(const Tensor& x, const Tensor& other);
/// Floats rounded to those of float16 or bfloat16, in x's own dtype still; others as they are. The gradient passes as
/// if nothing were rounded.
THIMBLE_API Tensor rounded_to(const Tensor& x, DType dtype);

}  // namespace thimble
