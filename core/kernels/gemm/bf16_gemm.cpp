#include <algorithm>

#include <thimble/core/kernels/elementwise/bf16_rows.h>
#include <thimble/core/kernels/gemm/bf16_batch_sums.h>
#include <thimble/core/kernels/gemm/bf16_gemm.h>
#include <thimble/core/kernels/gemm/bf16_product.h>

namespace thimble::kernels {

namespace {

// One of the strides is 1: those of a single row, or column, may be anything.
Bf16Matrix with_a_dense_axis(Bf16Matrix m) {
  if (m.cols == 1 && m.row_stride != 1)
    m.col_stride = 1;
  else if (m.rows == 1 && m.col_stride != 1)
    m.row_stride = 1;
  return m;
}

// Columns whose right operand is packed at a time, so that it stays in the second level cache.
int64_t columns_at_once(const Bf16Panels& panels) {
  constexpr int64_t kElements = 128 * 1024;
  return std::clamp<int64_t>(kElements / std::max<int64_t>(1, panels.step()), 2, 16) * kBf16Panel;
}

struct Bf16Gemm {
  const Bf16Matrix& a;
  const Bf16Matrix& b;
  const Bf16Result& c;
  Bf16Panels panels{b.rows};

  void run(int64_t row, int64_t rows, int64_t column, int64_t columns, const uint32_t* right) const {
    multiply_bf16_rows(
        row, rows, kBf16Rows, panels, right, b.rows, columns,
        [&](int64_t first, int64_t count, int64_t term, int64_t depth, const Bf16Blocks& blocks) {
          return pack_bf16_left(a.part(first, count, term, depth), blocks);
        },
        [&](int64_t first, int64_t count, float* sums, int64_t distance) {
          Bf16Result part = c;
          if (part.bias) part.bias += column;
          part.store(sums, distance, count, columns, first * b.cols + column, b.cols);
        });
  }

  // Each thread packs the columns that it computes.
  void run_columns(int64_t first, int64_t last) const {
    const int64_t most = columns_at_once(panels);
    for (int64_t column = first; column < last; column += most) {
      const int64_t columns = std::min(most, last - column);
      auto* right = thread_scratch_of<uint32_t>(ScratchUse::right, panels.elements(columns));
      panels.pack(b.part(0, b.rows, column, columns), right);
      run(0, a.rows, column, columns, right);
    }
  }
};

}  // namespace

void Bf16Result::store(float* sums, int64_t distance, int64_t rows, int64_t columns, int64_t offset,
                       int64_t stride) const {
  if (bias)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) sums[i * distance + j] += bias[j];
  if (columns == distance && columns == stride) {  // without gaps
    columns *= rows;
    rows = 1;
  }
  const auto round = bf16_rows().round;
  for (int64_t i = 0; i < rows; ++i, sums += distance, offset += stride) {
    if (is_float32)
      std::copy_n(sums, columns, static_cast<float*>(data) + offset);
    else
      round(sums, columns, static_cast<uint16_t*>(data) + offset);
  }
}

void bf16_gemm(const Bf16Matrix& any_a, const Bf16Matrix& any_b, const Bf16Result& c, bool threads) {
  const Bf16Matrix a = with_a_dense_axis(any_a), b = with_a_dense_axis(any_b);
  if (a.rows == 0 || b.cols == 0) return;
  const Bf16Gemm gemm{a, b, c};
  if (!threads) return gemm.run_columns(0, b.cols);
  constexpr int64_t kTall = 4 * kBf16Rows, kRows = 16;
  if (a.rows >= kTall) {
    const auto memory = gemm.panels.pack(b);
    const auto* right = static_cast<const uint32_t*>(memory.get());
    const int64_t most = 8 * columns_at_once(gemm.panels);  // which the sums of a block of rows have
    const int64_t units = (a.rows + kRows - 1) / kRows;
    const int64_t grain = std::max<int64_t>(1, kBf16Grain / std::max<int64_t>(1, kRows * b.cols * b.rows));
    return parallel_for(units, grain, [&](int64_t begin, int64_t end) {
      const int64_t row = begin * kRows, rows = std::min(end * kRows, a.rows) - row;
      for (int64_t column = 0; column < b.cols; column += most)
        gemm.run(row, rows, column, std::min(most, b.cols - column), right + column / kBf16Panel * gemm.panels.step());
    });
  }
  const int64_t units = (b.cols + kBf16Panel - 1) / kBf16Panel;
  const int64_t grain = std::max<int64_t>(1, kBf16Grain / std::max<int64_t>(1, kBf16Panel * a.rows * b.rows));
  parallel_for(units, grain, [&](int64_t begin, int64_t end) {
    gemm.run_columns(begin * kBf16Panel, std::min(end * kBf16Panel, b.cols));
  });
}

void bf16_sum_over_batch(const Bf16Matrix& any_left, const Bf16Matrix& any_right, float* c) {
  const Bf16Matrix left = with_a_dense_axis(any_left), right = with_a_dense_axis(any_right);
  const auto left_of = [&](int64_t term, int64_t terms) { return left.part(term, terms, 0, left.cols); };
  const auto right_of = [&](int64_t term, int64_t terms, int64_t column, int64_t columns) {
    return right.part(term, terms, column, columns);
  };
  sum_bf16_over_batch({.samples = left.rows, .terms = 1, .rows = left.cols, .columns = right.cols}, left_of, right_of,
                      c, right.cols);
}

}  // namespace thimble::kernels
