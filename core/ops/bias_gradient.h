// The gradient of a bias that was added to a product. Internal.
#pragma once

#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

/// The sum of out_grad over all axes but that of the bias; of bfloat16 in float32.
inline Tensor bias_gradient(const Tensor& out_grad, const Shape& axes, const Tensor& bias) {
  const bool is_half = out_grad.dtype() == DType::bfloat16;
  return cast(sum(is_half ? cast(out_grad, DType::float32) : out_grad, axes), bias.dtype());
}

}  // namespace thimble
