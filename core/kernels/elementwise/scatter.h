// Writing rows to places that an array of indices names. Internal.
#pragma once

#include <thimble/core/kernels/elementwise/integer_binary.h>
#include <thimble/core/ndarray.h>

namespace thimble::kernels {

// `out` is [r, s], `updates` [n, s] of its dtype, `rows` int64 [n], each below r: all contiguous.

/// Row i of updates becomes row rows[i]; of several the last stays.
void scatter_rows(const NDArray& updates, const NDArray& rows, NDArray& out);
/// The same, combined by add, mul, maximum or minimum with what lies there: floats in double, rounded at the end.
void scatter_rows(IntegerBinary function, const NDArray& updates, const NDArray& rows, NDArray& out);

}  // namespace thimble::kernels
