// Float matrix products: OpenBLAS for the arithmetic, the library's own threads around it.
#pragma once

#include <cstdint>
#include <string>

#include <thimble/core/api.h>

namespace thimble::kernels {

/// A matrix in memory: element (i, j) lies at data[i * row_stride + j * col_stride].
template <typename T>
struct MatrixView {
  const T* data;
  int64_t rows, cols;
  int64_t row_stride, col_stride;

  MatrixView transposed() const { return {data, cols, rows, col_stride, row_stride}; }
};

/// OpenBLAS's version, options, and the processor whose kernels it has chosen: with another, sums may differ in their
/// last bits. Throws Error if OpenBLAS cannot be loaded. For the program, too.
THIMBLE_API std::string blas_description();

/// Whether gemm can read a matrix of these strides: its rows, or its columns, must be dense and not overlap.
bool is_blas_layout(int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride);

/// c [m, n], row-major and dense, becomes a [m, k] times b [k, n], plus bias [n] on every row unless it is null. a and
/// b are in BLAS layout; sizes and strides are below 2^31. Runs on several threads where the product is worth it.
template <typename T>
void gemm(const MatrixView<T>& a, const MatrixView<T>& b, const T* bias, T* c);

/// The same on the calling thread, for callers that divide a batch of products among threads.
template <typename T>
void gemm_serial(const MatrixView<T>& a, const MatrixView<T>& b, const T* bias, T* c);

}  // namespace thimble::kernels
