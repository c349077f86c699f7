#include <algorithm>

#include <thimble/core/kernels/gemm/integer_gemm.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

void integer_gemm(const MatrixView<int64_t>& a, const MatrixView<int64_t>& b, int64_t* out) {
  constexpr int64_t kMultiplications = 65536;  // that are worth handing to another thread
  const int64_t grain = kMultiplications / std::max<int64_t>(1, a.cols * b.cols) + 1;
  parallel_for(a.rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t* row = out + i * b.cols;
      std::fill_n(row, b.cols, int64_t{0});
      for (int64_t k = 0; k < a.cols; ++k) {
        const auto factor = static_cast<uint64_t>(a.data[i * a.row_stride + k * a.col_stride]);
        const int64_t* from = b.data + k * b.row_stride;
        for (int64_t j = 0; j < b.cols; ++j)
          row[j] = static_cast<int64_t>(static_cast<uint64_t>(row[j]) +
                                        factor * static_cast<uint64_t>(from[j * b.col_stride]));
      }
    }
  });
}

}  // namespace thimble::kernels
