#include <algorithm>

#include <thimble/core/kernels/elementwise/transpose.h>
#include <thimble/core/kernels/gemm/panels.h>
#include <thimble/core/kernels/gemm/small_gemm.h>

namespace thimble::kernels {

namespace {

// `columns` is known to the compiler for full panels.
template <typename T>
[[gnu::always_inline]] inline void pack_rows(const MatrixView<T>& m, int64_t columns, int64_t width, T* to) {
  for (int64_t p = 0; p < m.rows; ++p, to += width) {
    const T* from = m.data + p * m.row_stride;
    if (m.col_stride == 1)
      std::copy_n(from, columns, to);
    else
      for (int64_t j = 0; j < columns; ++j) to[j] = from[j * m.col_stride];
  }
}

}  // namespace

template <typename T>
void pack_panels(const MatrixView<T>& m, int64_t width, T* to) {
  for (int64_t column = 0; column < m.cols; column += width, to += m.rows * width) {
    const int64_t columns = std::min(width, m.cols - column);
    const MatrixView<T> panel{m.data + column * m.col_stride, m.rows, columns, m.row_stride, m.col_stride};
    if (columns < width) std::fill_n(to, m.rows * width, T{0});
    if (m.row_stride == 1 && m.col_stride != 1)
      Transpose<T>{panel.data, m.col_stride, to, width}.run(m.rows, columns);
    else if (columns == kGemmPanel)
      pack_rows(panel, kGemmPanel, kGemmPanel, to);
    else
      pack_rows(panel, columns, width, to);
  }
}

template void pack_panels(const MatrixView<float>&, int64_t, float*);
template void pack_panels(const MatrixView<double>&, int64_t, double*);

}  // namespace thimble::kernels
