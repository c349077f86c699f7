// What ops on several arrays of real numbers expect of them. Internal.
#pragma once

#include <span>

#include <thimble/core/ndarray.h>

namespace thimble {

/// Throws DTypeError, beginning with `op`, unless all are float32 or all are float64.
inline void check_same_float_dtype(std::span<const NDArray> operands, const char* op) {
  for (const NDArray& x : operands)
    check<DTypeError>(is_differentiable(x.dtype()) && x.dtype() == operands[0].dtype(), op,
                      ": expects operands of one dtype, float32 or float64, got ", operands[0].dtype(), " and ",
                      x.dtype());
}

}  // namespace thimble
