// Float32 products of a matrix and a vector. Single-threaded; the callers divide the rows.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// y [rows] = matrix [rows, k] x [k]. Element (i, p) of the matrix lies at matrix[i * row_stride + p * col_stride],
/// where one of the strides is 1; x and y are dense. Terms are added in turn, as in small_gemm().
struct Gemv {
  int64_t rows, k;
  const float* matrix;
  int64_t row_stride, col_stride;
  const float* x;
  float* y;
};

void gemv(const Gemv& task);

/// The code of one instruction set. The two are of matrices whose rows are dense, and whose columns are.
struct GemvTable {
  void (*dense_rows)(const Gemv&);
  void (*dense_columns)(const Gemv&);
};
extern const GemvTable gemv_scalar, gemv_avx2, gemv_avx512;

}  // namespace thimble::kernels
