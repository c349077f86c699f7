// Copying and converting between strided arrays.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// Copies `from` to `to`, of the same shape, converting as NDArray::to says. The two must not overlap.
void copy(const NDArray& from, NDArray& to);

}  // namespace thimble::kernels
