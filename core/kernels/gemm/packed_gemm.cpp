#include <algorithm>

#include <thimble/core/kernels/gemm/packed_gemm.h>
#include <thimble/core/kernels/gemm/panels.h>
#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/memory.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {
constexpr int64_t kGrain = 100'000;      // multiply-adds worth another thread
constexpr int64_t kPackGrain = 16'384;   // weights worth another thread
constexpr int64_t kRowsPerUnit = 14;     // the height of the largest register tiles
constexpr int64_t kBlockFloats = 65536;  // of the left operand, which all panels pass over
}  // namespace

PackedMatrix::PackedMatrix(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t col_stride,
                           const double* scale)
    : k_(k),
      n_(n),
      panel_width_(n <= kGemmPanel / 2 ? kGemmPanel / 2 : kGemmPanel),
      data_(allocate(static_cast<size_t>(nbytes()))) {
  auto* data = static_cast<float*>(data_.get());
  const int64_t width = panel_width_;
  parallel_for(panels(), std::max<int64_t>(1, kPackGrain / std::max<int64_t>(1, k * width)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t panel = begin; panel < end; ++panel) {
                   const int64_t first = panel * width, columns = std::min(width, n - first);
                   float* to = data + first * k;
                   pack_panels({b + first * col_stride, k, columns, row_stride, col_stride}, width, to);
                   for (int64_t p = 0; scale && p < k; ++p)
                     for (int64_t j = 0; j < columns; ++j)
                       to[p * width + j] = static_cast<float>(double{to[p * width + j]} * scale[first + j]);
                 }
               });
}

void packed_gemm(const float* a, int64_t lda, int64_t m, const PackedMatrix& b, float* c, int64_t ldc,
                 const Epilogue<float>& epilogue) {
  const int64_t k = b.k(), n = b.n(), panels = b.panels(), width = b.panel_width();
  const int64_t block = std::max(kRowsPerUnit, kBlockFloats / std::max<int64_t>(k, 1) / kRowsPerUnit * kRowsPerUnit);
  const auto multiply = [&](int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    const int64_t first = panel_begin * width, last = std::min(panel_end * width, n);
    for (int64_t row = row_begin; row < row_end; row += block)
      small_gemm(SmallGemm<float>{.m = std::min(block, row_end - row),
                                  .n = last - first,
                                  .k = k,
                                  .a = a + row * lda,
                                  .a_row = lda,
                                  .a_col = 1,
                                  .b = b.data() + panel_begin * k * width,
                                  .ldb = width,
                                  .c = c + row * ldc + first,
                                  .ldc = ldc,
                                  .b_panel = k * width,
                                  .epilogue = epilogue.at(first, row * ldc + first)});
  };
  // The larger operand is divided, so that each thread reads little of what the others read.
  if (n >= m && panels > 1) {
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, m * k * width));
    parallel_for(panels, grain, [&](int64_t begin, int64_t end) { multiply(0, m, begin, end); });
  } else {
    const int64_t units = ceil_div(m, kRowsPerUnit);
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, kRowsPerUnit * k * n));
    parallel_for(units, grain, [&](int64_t begin, int64_t end) {
      multiply(begin * kRowsPerUnit, std::min(end * kRowsPerUnit, m), 0, panels);
    });
  }
}

}  // namespace thimble::kernels
