// Logic of bools, bits of integers, and questions to each element. Operands of one dtype broadcast as in NumPy. No
// gradient flows through them. Throw DTypeError for dtypes that are not named, ShapeError for shapes that do not fit.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

// Of integers, or of bools.

THIMBLE_API Tensor bitwise_and(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor bitwise_or(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor bitwise_xor(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor bitwise_not(const Tensor& x);
/// Of integers; 0 for as many bits as there are, and more.
THIMBLE_API Tensor bitwise_left_shift(const Tensor& a, const Tensor& bits);
THIMBLE_API Tensor bitwise_right_shift(const Tensor& a, const Tensor& bits);

/// Whether it is 0, of any dtype: bools.
THIMBLE_API Tensor logical_not(const Tensor& x);
/// Of any numbers, broadcast, as bools: false is 0.
THIMBLE_API Tensor logical_and(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor logical_or(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor logical_xor(const Tensor& a, const Tensor& b);
/// Of any numbers: bools; integers are neither.
THIMBLE_API Tensor isnan(const Tensor& x);
THIMBLE_API Tensor isinf(const Tensor& x, bool detect_negative = true, bool detect_positive = true);

}  // namespace thimble
