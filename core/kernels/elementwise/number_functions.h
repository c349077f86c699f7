// Functions of numbers that are called for each element: for what is too rare to have vectors' code. Internal.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// Of x and two parameters. Computed in double whatever the dtype, so that float32 has all its digits.
using NumberFunction = double (*)(double x, double p0, double p1);
using PairFunction = double (*)(double a, double b);

// `out` is dense, of the shape that the operands broadcast to, and shares no memory with them but if it is one of them.
// All are float32, or all float64.

void map_numbers(NumberFunction function, const NDArray& x, NDArray& out, double p0 = 0, double p1 = 0);
void map_pairs(PairFunction function, const NDArray& a, const NDArray& b, NDArray& out);

}  // namespace thimble::kernels
