// Reductions of strided arrays. Sums are pairwise: their rounding error grows with the logarithm of the number of
// terms. The order of additions depends on shapes and strides alone, never on the number of threads.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

// `axes` are the reduced axes of x, sorted and non-negative. `out`, contiguous, has one element for each combination of
// the others. x, centers and out are float32 or float64, all of one dtype.

void reduce_sum(const NDArray& x, const Shape& axes, NDArray& out);
/// The same; where the first axis is reduced, it is a batch, the sums of whose shards are added as the tree of Shards.
void reduce_sum_over_batch(const NDArray& x, const Shape& axes, NDArray& out);
/// NaN if any element is; -inf (+inf) for none.
void reduce_max(const NDArray& x, const Shape& axes, NDArray& out);
void reduce_min(const NDArray& x, const Shape& axes, NDArray& out);
/// The sum of (x - center)^2, where `centers` is laid out as `out`.
void reduce_squared_deviations(const NDArray& x, const Shape& axes, const NDArray& centers, NDArray& out);
/// The sum of exp(x - center).
void reduce_exponentials(const NDArray& x, const Shape& axes, const NDArray& centers, NDArray& out);

}  // namespace thimble::kernels
