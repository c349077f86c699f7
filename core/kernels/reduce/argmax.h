#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// The index of the first largest element along `axis` (not empty), NaN counting as largest; `out` is contiguous and
/// int64, of x's shape without the axis.
void argmax(const NDArray& x, int axis, NDArray& out);

}  // namespace thimble::kernels
