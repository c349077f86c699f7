#include <algorithm>

#include <thimble/core/kernels/gemm/blas.h>
#include <thimble/core/kernels/gemm/blas_gemm.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Below this a piece of work does not repay waking a thread.
constexpr int64_t kMinFlopsPerThread = 500'000;
// A matrix-vector product is bound by memory: smaller matrices lie in one core's cache anyway.
constexpr int64_t kMinGemvBytesPerThread = 512 * 1024;
// Pieces are multiples of this many rows or columns, so that only the last one ends within a register tile.
constexpr int64_t kTile = 16;

// How BLAS is told of a matrix: transposed or not, and the distance between its rows (or columns).
struct Layout {
  CBLAS_TRANSPOSE transpose;
  blasint leading;
};

template <typename T>
Layout layout_of(const MatrixView<T>& m) {
  // A single row or column has no distance to the next, but BLAS wants one that is large enough.
  if (m.col_stride == 1 || m.cols == 1) {
    const int64_t stride = m.rows == 1 ? m.cols : m.row_stride;
    if (stride >= m.cols) return {CblasNoTrans, static_cast<blasint>(std::max<int64_t>(stride, 1))};
  }
  const int64_t stride = m.cols == 1 ? m.rows : m.col_stride;
  return {CblasTrans, static_cast<blasint>(std::max<int64_t>(stride, 1))};
}

void call_gemm(Layout a_layout, Layout b_layout, blasint m, blasint n, blasint k, const float* a, const float* b,
               float beta, float* c, blasint ldc) {
  blas().sgemm(CblasRowMajor, a_layout.transpose, b_layout.transpose, m, n, k, 1, a, a_layout.leading, b,
               b_layout.leading, beta, c, ldc);
}

void call_gemm(Layout a_layout, Layout b_layout, blasint m, blasint n, blasint k, const double* a, const double* b,
               double beta, double* c, blasint ldc) {
  blas().dgemm(CblasRowMajor, a_layout.transpose, b_layout.transpose, m, n, k, 1, a, a_layout.leading, b,
               b_layout.leading, beta, c, ldc);
}

// y += matrix * x. BLAS takes the size of the matrix as it lies in memory.
void call_gemv(Layout layout, blasint rows, blasint cols, const float* matrix, const float* x, blasint incx, float* y) {
  blas().sgemv(CblasRowMajor, layout.transpose, rows, cols, 1, matrix, layout.leading, x, incx, 1, y, 1);
}

void call_gemv(Layout layout, blasint rows, blasint cols, const double* matrix, const double* x, blasint incx,
               double* y) {
  blas().dgemv(CblasRowMajor, layout.transpose, rows, cols, 1, matrix, layout.leading, x, incx, 1, y, 1);
}

// Rows [r0, r1) of c, and of them columns [c0, c1). The bias goes in first and the product is added to it, which costs
// nothing: BLAS adds to c panel by panel in any case.
template <typename T>
void multiply_block(const MatrixView<T>& a, const MatrixView<T>& b, const T* bias, T* c, int64_t r0, int64_t r1,
                    int64_t c0, int64_t c1) {
  T* block = c + r0 * b.cols + c0;
  if (bias)
    for (int64_t r = r0; r < r1; ++r) std::copy(bias + c0, bias + c1, c + r * b.cols + c0);
  call_gemm(layout_of(a), layout_of(b), static_cast<blasint>(r1 - r0), static_cast<blasint>(c1 - c0),
            static_cast<blasint>(a.cols), a.data + r0 * a.row_stride, b.data + c0 * b.col_stride, bias ? T{1} : T{0},
            block, static_cast<blasint>(b.cols));
}

// Rows [begin, end) of y += matrix * x.
template <typename T>
void add_vector_product(const MatrixView<T>& matrix, const T* x, int64_t incx, T* y, int64_t begin, int64_t end) {
  const Layout layout = layout_of(matrix);
  const blasint n = static_cast<blasint>(end - begin), k = static_cast<blasint>(matrix.cols);
  const bool transposed = layout.transpose == CblasTrans;
  call_gemv(layout, transposed ? k : n, transposed ? n : k, matrix.data + begin * matrix.row_stride, x,
            static_cast<blasint>(incx), y + begin);
}

// Rows [begin, end) of y = matrix * x + bias, where bias[i * bias_step] belongs to row i. In parts of so many columns:
// BLAS may add them to y one by one, and a running sum of millions loses digits.
template <typename T>
void multiply_vector(const MatrixView<T>& matrix, const T* x, int64_t incx, const T* bias, int64_t bias_step, T* y,
                     int64_t begin, int64_t end) {
  constexpr int64_t kMostColumns = 8192;
  for (int64_t i = begin; i < end; ++i) y[i] = bias ? bias[i * bias_step] : T{0};
  if (matrix.cols <= kMostColumns) return add_vector_product(matrix, x, incx, y, begin, end);
  T* sums = thread_scratch_of<T>(ScratchUse::sums, end - begin);
  for (int64_t column = 0; column < matrix.cols; column += kMostColumns) {
    const MatrixView<T> part{matrix.data + begin * matrix.row_stride + column * matrix.col_stride, end - begin,
                             std::min(kMostColumns, matrix.cols - column), matrix.row_stride, matrix.col_stride};
    std::fill_n(sums, end - begin, T{0});
    add_vector_product(part, x + column * incx, incx, sums, 0, end - begin);
    for (int64_t i = begin; i < end; ++i) y[i] += sums[i - begin];
  }
}

// Calls body(begin, end) on pieces of [0, n) that end at multiples of kTile.
template <typename Body>
void for_tiles(int64_t n, int64_t grain, bool threads, Body&& body) {
  if (!threads) return body(int64_t{0}, n);
  const int64_t tiles = (n + kTile - 1) / kTile;
  parallel_for(tiles, std::max<int64_t>(1, grain / kTile),
               [&](int64_t begin, int64_t end) { body(begin * kTile, std::min(n, end * kTile)); });
}

template <typename T>
void gemv(const MatrixView<T>& matrix, const T* x, int64_t incx, const T* bias, int64_t bias_step, T* y, bool threads) {
  const int64_t row_bytes = matrix.cols * static_cast<int64_t>(sizeof(T));
  for_tiles(matrix.rows, kMinGemvBytesPerThread / row_bytes, threads,
            [&](int64_t begin, int64_t end) { multiply_vector(matrix, x, incx, bias, bias_step, y, begin, end); });
}

// What bias and sums have become, in place.
template <typename T>
void add_and_clamp(T* c, int64_t size, const Epilogue<T>& e) {
  if (e.addend)
    for (int64_t i = 0; i < size; ++i) c[i] += e.addend[i];
  if (e.clamps())
    for (int64_t i = 0; i < size; ++i) c[i] = std::clamp(c[i], e.lower, e.upper);
}

template <typename T>
void multiply(const MatrixView<T>& a, const MatrixView<T>& b, const T* bias, T* c, bool threads) {
  const int64_t m = a.rows, n = b.cols, k = a.cols;
  // A vector of one element may have any stride, 0 too if it was broadcast, which BLAS refuses.
  if (m == 1) return gemv(b.transposed(), a.data, k == 1 ? 1 : a.col_stride, bias, 1, c, threads);
  if (n == 1) return gemv(a, b.data, k == 1 ? 1 : b.row_stride, bias, 0, c, threads);
  // Each thread packs its part of the divided operand and all of the other, so the larger one is divided; of two equal
  // ones the rows, since whole rows of c are written fastest.
  if (m >= n) {
    for_tiles(m, kMinFlopsPerThread / (2 * n * k), threads,
              [&](int64_t begin, int64_t end) { multiply_block(a, b, bias, c, begin, end, 0, n); });
  } else {
    for_tiles(n, kMinFlopsPerThread / (2 * m * k), threads,
              [&](int64_t begin, int64_t end) { multiply_block(a, b, bias, c, 0, m, begin, end); });
  }
}

}  // namespace

std::string blas_description() { return blas().description; }

template <typename T>
void blas_gemm(const MatrixView<T>& a, const MatrixView<T>& b, T* c, const Epilogue<T>& epilogue, bool threads) {
  multiply(a, b, epilogue.bias, c, threads);
  add_and_clamp(c, a.rows * b.cols, epilogue);
}

template void blas_gemm(const MatrixView<float>&, const MatrixView<float>&, float*, const Epilogue<float>&, bool);
template void blas_gemm(const MatrixView<double>&, const MatrixView<double>&, double*, const Epilogue<double>&, bool);

}  // namespace thimble::kernels
