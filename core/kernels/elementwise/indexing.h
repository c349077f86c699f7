// Moving elements by an array of indices, which must have been checked: each within the indexed dimension.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// out[.., i, ..] = x[.., index[i], ..] along axis. x and out contiguous and of one dtype, index int64 [n] contiguous.
void index_select(const NDArray& x, int axis, const NDArray& index, NDArray& out);

/// out[.., index[i], ..] += grad[.., i, ..] along axis, in the order of i on any number of threads. float32 or float64;
/// grad and out contiguous, index int64 [n] contiguous. Sums of very many terms are formed in float64.
void index_add(const NDArray& grad, int axis, const NDArray& index, NDArray& out);

/// out[.., i, ..] = x[.., index[.., i, ..], ..] along axis; index int64 and out have one shape. Any strides.
void gather(const NDArray& x, int axis, const NDArray& index, NDArray& out);

/// out[.., index[.., i, ..], ..] += grad[.., i, ..] along axis, in the order of i. float32 or float64; grad and index
/// have one shape and any strides; out is contiguous. Sums of very many terms are formed in float64.
void scatter_add(const NDArray& grad, int axis, const NDArray& index, NDArray& out);

}  // namespace thimble::kernels
