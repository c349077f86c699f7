// What ops on several arrays of real numbers expect of them. Internal.
#pragma once

#include <span>

#include <thimble/core/ndarray.h>

namespace thimble {

/// Whether an op multiplies in bfloat16, as its first input says.
inline bool is_mixed_precision(std::span<const NDArray> operands) { return operands[0].dtype() == DType::bfloat16; }

/// Throws DTypeError, beginning with `op`, unless all are bfloat16 or float32.
inline void check_mixed_dtypes(std::span<const NDArray> operands, const char* op) {
  for (const NDArray& x : operands)
    check<DTypeError>(x.dtype() == DType::bfloat16 || x.dtype() == DType::float32, op,
                      ": expects operands of bfloat16, or float32 beside them, got ", x.dtype());
}

/// x with another dtype, its elements in memory in the same order.
inline NDArray as_dtype(const NDArray& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  NDArray converted = NDArray::empty_like(x, dtype);
  converted.copy_from(x);
  return converted;
}

/// Throws DTypeError, beginning with `op`, unless all are float32 or all are float64.
inline void check_same_float_dtype(std::span<const NDArray> operands, const char* op) {
  for (const NDArray& x : operands)
    check<DTypeError>(is_differentiable(x.dtype()) && x.dtype() == operands[0].dtype(), op,
                      ": expects operands of one dtype, float32 or float64, got ", operands[0].dtype(), " and ",
                      x.dtype());
}

}  // namespace thimble
