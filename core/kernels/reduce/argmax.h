#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// Which element is wanted.
struct Extreme {
  bool smallest = false;  ///< instead of the largest
  bool last = false;      ///< of several, instead of the first
};

/// The index of the largest element along `axis` (not empty), where NaN wins; `out` is contiguous and int64, of x's
/// shape without the axis.
void argmax(const NDArray& x, int axis, NDArray& out, Extreme extreme = {});

}  // namespace thimble::kernels
