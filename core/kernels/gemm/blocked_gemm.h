// Float32 matrix products by the library's own kernels.
#pragma once

#include <thimble/core/kernels/gemm/gemm.h>

namespace thimble::kernels {

/// As gemm(), with m, n and k above 0.
void blocked_gemm(const MatrixView<float>& a, const MatrixView<float>& b, float* c, const Epilogue<float>& epilogue,
                  SumOrder order, bool threads);

}  // namespace thimble::kernels
