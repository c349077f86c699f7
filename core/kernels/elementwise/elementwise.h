// Elementwise kernels over strided arrays, vectorized and threaded.
#pragma once

#include <thimble/core/kernels/elementwise/elementwise_rows.h>
#include <thimble/core/ndarray.h>

namespace thimble::kernels {

// `out` is dense, of the shape that the operands broadcast to, and shares no memory with them, except that it may be
// one of them. Operands and parameters are of out's dtype, float32 or float64, except where told. unary and binary take
// bfloat16, too, computed in float32.

void unary(Unary function, const NDArray& x, NDArray& out, double p0 = 0, double p1 = 0);
void binary(Binary function, const NDArray& a, const NDArray& b, NDArray& out, double p0 = 0, double p1 = 0);
/// `out` is uint8 or bool.
void compare(Compare function, const NDArray& a, const NDArray& b, NDArray& out);
/// a where condition (uint8 or bool) is not 0, else b. Of any dtype.
void where(const NDArray& condition, const NDArray& a, const NDArray& b, NDArray& out);

}  // namespace thimble::kernels
