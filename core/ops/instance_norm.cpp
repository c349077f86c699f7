#include <thimble/core/ops/norm.h>

namespace thimble {

Tensor instance_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  check<ShapeError>(x.ndim() >= 3, "instance_norm: input must be [n, channels, ...], got ", x.shape());
  check<ShapeError>(x.shape(1) >= 1, "instance_norm: input ", x.shape(), " has no channels");
  return group_norm(x, x.shape(1), weight, bias, eps);
}

}  // namespace thimble
