// Float matrix products: float32 by the library's own kernels, float64 by OpenBLAS, and by -DTHIMBLE_GEMM=openblas
// both.
#pragma once

#include <cstdint>
#include <string>

#include <thimble/core/api.h>
#include <thimble/core/kernels/gemm/epilogue.h>

namespace thimble::kernels {

/// A matrix in memory: element (i, j) lies at data[i * row_stride + j * col_stride].
template <typename T>
struct MatrixView {
  const T* data;
  int64_t rows, cols;
  int64_t row_stride, col_stride;

  MatrixView transposed() const { return {data, cols, rows, col_stride, row_stride}; }
};

/// What multiplies float32: "Thimble's kernels for avx512", or OpenBLAS's version, options, the processor that it takes
/// this one for (throws Error if it cannot be loaded), and threads. With others, sums may differ in their last bits.
THIMBLE_API std::string gemm_description();

/// Whether gemm can read a matrix of these strides: its rows, or its columns, must be dense and not overlap.
bool is_blas_layout(int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride);

/// How the terms of an element are added up, in float32 and by the library's own kernels; OpenBLAS has an order of its
/// own, which depends on sizes and threads.
enum class SumOrder {
  in_turn,
  in_shards,  ///< as sums over a batch are: those of kBatchShards parts of k, as a binary tree (reduce/shards.h)
};

/// c [m, n], row-major and dense, becomes a [m, k] times b [k, n], and then the epilogue. a and b are in BLAS layout;
/// sizes and strides are below 2^31. Runs on several threads where the product is worth it. In float32 an element's
/// bits depend on its row of a, its column of b, and the order alone: neither on the threads nor on the other rows.
template <typename T>
void gemm(const MatrixView<T>& a, const MatrixView<T>& b, T* c, const Epilogue<T>& epilogue = {},
          SumOrder order = SumOrder::in_turn);

/// The same on the calling thread, for callers that divide a batch of products among threads.
template <typename T>
void gemm_serial(const MatrixView<T>& a, const MatrixView<T>& b, T* c, const Epilogue<T>& epilogue = {},
                 SumOrder order = SumOrder::in_turn);

}  // namespace thimble::kernels
