// Products of integers of any size: exact, modulo 2^64. Those of quantized layers are in kernels/int8. Internal.
#pragma once

#include <thimble/core/kernels/gemm/gemm.h>

namespace thimble::kernels {

/// out [a.rows, b.cols], dense, is a b. Any strides.
void integer_gemm(const MatrixView<int64_t>& a, const MatrixView<int64_t>& b, int64_t* out);

}  // namespace thimble::kernels
