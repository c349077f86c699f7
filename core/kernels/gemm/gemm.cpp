#include <algorithm>
#include <type_traits>

#include <thimble/core/error.h>
#include <thimble/core/kernels/gemm/blas_gemm.h>
#include <thimble/core/kernels/gemm/blocked_gemm.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {

namespace {

#ifdef THIMBLE_GEMM_OPENBLAS
constexpr bool kOwnFloat32 = false;
#else
constexpr bool kOwnFloat32 = true;
#endif

// What a sum of no terms becomes.
template <typename T>
void store_empty_sums(int64_t m, int64_t n, T* c, const Epilogue<T>& e) {
  for (int64_t i = 0; i < m * n; ++i)
    c[i] = std::clamp((e.bias ? e.bias[i % n] : T{0}) + (e.addend ? e.addend[i] : T{0}), e.lower, e.upper);
}

template <typename T>
void multiply(const MatrixView<T>& a, const MatrixView<T>& b, T* c, const Epilogue<T>& epilogue, SumOrder order,
              bool threads) {
  const int64_t m = a.rows, n = b.cols, k = a.cols;
  if (m == 0 || n == 0) return;
  if (k == 0) return store_empty_sums(m, n, c, epilogue);
  if constexpr (std::is_same_v<T, float> && kOwnFloat32)
    blocked_gemm(a, b, c, epilogue, order, threads);
  else
    blas_gemm(a, b, c, epilogue, threads);
}

}  // namespace

std::string gemm_description() {
  if (kOwnFloat32) return "Thimble's kernels for " + std::string(name(active_isa()));
  return str(blas_description(), ", ", num_threads(), " threads");
}

bool is_blas_layout(int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride) {
  const bool dense_rows = (col_stride == 1 || cols == 1) && (row_stride >= cols || rows == 1);
  const bool dense_cols = (row_stride == 1 || rows == 1) && (col_stride >= rows || cols == 1);
  return dense_rows || dense_cols;
}

template <typename T>
void gemm(const MatrixView<T>& a, const MatrixView<T>& b, T* c, const Epilogue<T>& epilogue, SumOrder order) {
  multiply(a, b, c, epilogue, order, true);
}

template <typename T>
void gemm_serial(const MatrixView<T>& a, const MatrixView<T>& b, T* c, const Epilogue<T>& epilogue, SumOrder order) {
  multiply(a, b, c, epilogue, order, false);
}

template void gemm(const MatrixView<float>&, const MatrixView<float>&, float*, const Epilogue<float>&, SumOrder);
template void gemm(const MatrixView<double>&, const MatrixView<double>&, double*, const Epilogue<double>&, SumOrder);
template void gemm_serial(const MatrixView<float>&, const MatrixView<float>&, float*, const Epilogue<float>&, SumOrder);
template void gemm_serial(const MatrixView<double>&, const MatrixView<double>&, double*, const Epilogue<double>&,
                          SumOrder);

}  // namespace thimble::kernels
