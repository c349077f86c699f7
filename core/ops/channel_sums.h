// Gradients of what each channel has one of. Internal.
#pragma once

#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

/// [channels] from x [n, channels, ...]: the sums over all other axes, those over the batch as sum_to() has them.
inline Tensor sum_per_channel(const Tensor& x) {
  Shape shape{x.shape(1)};
  for (int d = 2; d < x.ndim(); ++d) shape.push_back(1);
  return reshape(sum_to(x, shape), {x.shape(1)});
}

}  // namespace thimble
