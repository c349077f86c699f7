// Matrix products by OpenBLAS, with the library's own threads around it.
#pragma once

#include <thimble/core/kernels/gemm/gemm.h>

namespace thimble::kernels {

/// OpenBLAS's version, options, and the processor whose kernels it has chosen. Throws Error if it cannot be loaded.
std::string blas_description();

/// As gemm(), with m, n and k above 0. Sums are in OpenBLAS's order, which depends on sizes and threads.
template <typename T>
void blas_gemm(const MatrixView<T>& a, const MatrixView<T>& b, T* c, const Epilogue<T>& epilogue, bool threads);

}  // namespace thimble::kernels
