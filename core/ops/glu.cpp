#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/math.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

Tensor glu(const Tensor& x, int64_t axis) {
  const int64_t size = x.shape(static_cast<int>(axis)), half = size / 2;
  check<ShapeError>(size % 2 == 0, "glu: axis ", axis, " of input ", x.shape(), " has an odd size");
  return slice(x, axis, 0, half) * sigmoid(slice(x, axis, half, size));
}

}  // namespace thimble
