// Matrix products.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// a [..., m, k] times b [..., k, n] gives [..., m, n]; leading dimensions broadcast. A 1-d operand is a vector, as in
/// PyTorch. Transposed views are not copied. Floats, or integers, which are multiplied and added modulo 2^bits and have
/// no gradient. Throws ShapeError, DTypeError.
THIMBLE_API Tensor matmul(const Tensor& a, const Tensor& b);

/// x [..., in] times weight^T [in, out], plus bias [out] if it is defined: [..., out], in one op. weight is [out, in].
THIMBLE_API Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace thimble
