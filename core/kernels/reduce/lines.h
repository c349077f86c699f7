// What is done along an axis and keeps or shortens it. Internal.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// Running sums along `axis`, from its end if `reverse`; without the element itself if `exclusive`. x and `out` are of
/// one dtype and shape; `out` is contiguous. Floats are summed in double, integers modulo 2^bits.
void cumsum(const NDArray& x, int axis, bool exclusive, bool reverse, NDArray& out);

/// The indices of the k largest elements along the last axis, the largest first, or of the smallest; of equal ones the
/// first comes first. NaN counts as largest. `out`, contiguous and int64, is of x's shape but for the last axis, of
/// size k, at most x's.
void top_k(const NDArray& x, bool largest, NDArray& out);

}  // namespace thimble::kernels
