// Arithmetic on integers: exact, modulo 2^bits. Internal.
#pragma once

#include <thimble/core/kernels/elementwise/elementwise.h>
#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// Whether there is integer_binary() for these.
bool has_integer_binary(Binary function, DType dtype);

/// add, sub, mul, div, maximum and minimum of int64 or int32, broadcast to `out`. div truncates; throws ValueError for a
/// divisor of 0.
void integer_binary(Binary function, const NDArray& a, const NDArray& b, NDArray& out);

}  // namespace thimble::kernels
