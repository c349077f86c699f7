// The loops of gemv.h. Included by one source for each instruction set, which says how many floats a register holds,
// and multiply_add(a, b, c) = a * b + c. Memory is the limit: all that is to be done is to read it in long runs.
#pragma once

#include <cstddef>
#include <utility>

#include <thimble/core/kernels/gemm/gemv.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

template <typename A>
struct GemvLoops {
  static constexpr int kLanes = A::kWidth;
  using V = Vector<float, kLanes>;

  // Columns are added one after the other, several in one loop over the rows.
  static void dense_columns(const Gemv& t) {
    constexpr int kColumns = 8;
    int64_t p = 0;
    for (int64_t i = 0; i < t.rows; ++i) t.y[i] = 0;
    for (; p + kColumns <= t.k; p += kColumns) add_columns<kColumns>(t, p);
    for (; p < t.k; ++p) add_columns<1>(t, p);
  }

  // Blocks of as many rows and terms as a register has lanes are transposed, so that a lane has a row.
  static void dense_rows(const Gemv& t) {
    constexpr int kGroups = kLanes == 1 ? 8 : 2;  // at the same time: the additions of one wait for each other
    int64_t row = 0;
    for (; row + kGroups * kLanes <= t.rows; row += kGroups * kLanes) add_rows<kGroups>(t, row, kLanes);
    for (; row < t.rows; row += kLanes)
      add_rows<1>(t, row, static_cast<int>(t.rows - row < kLanes ? t.rows - row : kLanes));
  }

 private:
  template <int kColumns>
  [[gnu::always_inline]] static void add_columns(const Gemv& t, int64_t p) {
    const float* columns[kColumns];
    V factors[kColumns];
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      columns[c] = t.matrix + (p + c) * t.col_stride;
      factors[c] = broadcast<kLanes>(t.x[p + c]);
    }
    int64_t i = 0;
    for (; i + kLanes <= t.rows; i += kLanes) {
      V sum = load<kLanes>(t.y + i);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sum = A::multiply_add(factors[c], load<kLanes>(columns[c] + i), sum);
      store(t.y + i, sum);
    }
    for (; i < t.rows; ++i) {
      V sum{t.y[i]};
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sum = A::multiply_add(factors[c], V{columns[c][i]}, sum);
      t.y[i] = sum[0];
    }
  }

  // kLanes terms of `rows` rows, the others 0: lane i of the p-th is that of row i.
  using Block = V[kLanes];

  template <int kHalf, std::size_t... I>
  [[gnu::always_inline]] static void exchange(V& a, V& b, std::index_sequence<I...>) {
    const V low = __builtin_shufflevector(a, b, (I & kHalf ? kLanes + I - kHalf : I)...);
    b = __builtin_shufflevector(a, b, (I & kHalf ? kLanes + I : I + kHalf)...);
    a = low;
  }
  template <int kHalf>
  [[gnu::always_inline]] static void transpose(Block& block) {
    if constexpr (kHalf < kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        if (!(i & kHalf)) exchange<kHalf>(block[i], block[i + kHalf], std::make_index_sequence<kLanes>());
      transpose<2 * kHalf>(block);
    }
  }

  template <int kGroups>
  [[gnu::always_inline]] static void add_rows(const Gemv& t, int64_t row, int rows) {
    V sums[kGroups] = {};
    int64_t p = 0;
    for (; p + kLanes <= t.k; p += kLanes)
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) {
        const float* from = t.matrix + (row + g * kLanes) * t.row_stride + p;
        Block block;
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) block[i] = i < rows ? load<kLanes>(from + i * t.row_stride) : V{};
        transpose<1>(block);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) sums[g] = A::multiply_add(broadcast<kLanes>(t.x[p + i]), block[i], sums[g]);
      }
    for (; p < t.k; ++p)
      for (int g = 0; g < kGroups; ++g) {
        V column{};
        for (int i = 0; i < rows; ++i) column[i] = t.matrix[(row + g * kLanes + i) * t.row_stride + p];
        sums[g] = A::multiply_add(broadcast<kLanes>(t.x[p]), column, sums[g]);
      }
    for (int g = 0; g < kGroups; ++g)
      for (int i = 0; i < rows; ++i) t.y[row + g * kLanes + i] = sums[g][i];
  }
};

template <typename A>
constexpr GemvTable kGemvOf{GemvLoops<A>::dense_rows, GemvLoops<A>::dense_columns};

}  // namespace
}  // namespace thimble::kernels
