// Gradients of what each channel has one of. Internal.
#pragma once

#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

/// [channels] from x [n, channels, ...]: the sums over all other axes, those over the batch as sum_to() has them.
inline Tensor sum_per_channel(const Tensor& x) {
  Shape shape{x.shape(1)};
  for (int d = 2; d < x.ndim(); ++d) shape.push_back(1);
  return reshape(sum_to(x, shape), {x.shape(1)});
}

/// The gradient of a bias [channels] that was added to a product [n, channels, ...], of which this is the gradient; of
/// bfloat16 in float32.
inline Tensor bias_gradient(const Tensor& out_grad, const Tensor& bias) {
  const bool is_half = out_grad.dtype() == DType::bfloat16;
  return cast(sum_per_channel(is_half ? cast(out_grad, DType::float32) : out_grad), bias.dtype());
}

}  // namespace thimble
