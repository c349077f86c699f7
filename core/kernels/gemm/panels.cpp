#include <algorithm>

#include <thimble/core/kernels/elementwise/transpose.h>
#include <thimble/core/kernels/gemm/panels.h>
#include <thimble/core/kernels/gemm/small_gemm.h>

namespace thimble::kernels {

namespace {

// Rows [first, last) of a panel. `columns` is known to the compiler for full panels.
template <typename T>
[[gnu::always_inline]] inline void pack_rows(const MatrixView<T>& m, int64_t first, int64_t last, int64_t columns,
                                             int64_t width, T* to) {
  for (int64_t p = first; p < last; ++p) {
    const T* from = m.data + p * m.row_stride;
    if (m.col_stride == 1)
      std::copy_n(from, columns, to + p * width);
    else
      for (int64_t j = 0; j < columns; ++j) to[p * width + j] = from[j * m.col_stride];
  }
}

template <typename T>
void pack_panel(const MatrixView<T>& m, int64_t first, int64_t last, int64_t width, T* to) {
  if (m.cols < width) std::fill_n(to + first * width, (last - first) * width, T{0});
  if (m.row_stride == 1 && m.col_stride != 1)
    Transpose<T>{m.data + first, m.col_stride, to + first * width, width}.run(last - first, m.cols);
  else if (m.cols == kGemmPanel)
    pack_rows(m, first, last, kGemmPanel, kGemmPanel, to);
  else
    pack_rows(m, first, last, m.cols, width, to);
}

}  // namespace

template <typename T>
void pack_panels(const MatrixView<T>& m, int64_t width, T* to) {
  // Dense rows are read along: panel by panel, each would be read in pieces of two cache lines, a page apart.
  const int64_t rows = m.col_stride == 1 ? 16 : m.rows;
  for (int64_t first = 0; first < m.rows; first += rows)
    for (int64_t column = 0; column < m.cols; column += width) {
      const MatrixView<T> panel{m.data + column * m.col_stride, m.rows, std::min(width, m.cols - column), m.row_stride,
                                m.col_stride};
      pack_panel(panel, first, std::min(first + rows, m.rows), width, to + column * m.rows);
    }
}

template void pack_panels(const MatrixView<float>&, int64_t, float*);
template void pack_panels(const MatrixView<double>&, int64_t, double*);

}  // namespace thimble::kernels
