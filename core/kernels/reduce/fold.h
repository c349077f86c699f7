// Reductions by plain loops: of integers, and what is too rare for more. Internal.
#pragma once

#include <thimble/core/kernels/elementwise/integer_binary.h>
#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// Folds x along `axes`, sorted and non-negative, by add, mul, maximum or minimum; of no elements it gives 0, 1, or the
/// least or greatest number of the dtype. `out`, contiguous and of x's dtype, has one element for each combination of
/// the other axes. Integers and bools as integer_binary() has them; floats by add and mul alone, computed in double.
void fold(IntegerBinary function, const NDArray& x, const Shape& axes, NDArray& out);

}  // namespace thimble::kernels
