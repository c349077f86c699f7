// The loops of bf16_gemm_rows.h. Included by one source for each instruction set, which says what a vector V is, as in
// float_vectors.h, with two more loads,
//   even(p), odd(p)   the lower, and the upper, bfloat16 of kWidth pairs, widened
// and the size of the register tile, V::kRows rows of V::kVectors vectors: two chains for each element of it.
#pragma once

#include <thimble/core/kernels/gemm/bf16_gemm_rows.h>
#include <thimble/core/kernels/reduce/shards.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

// R rows and N vectors of columns of a panel.
template <typename V, int R, int N>
struct Bf16Tile {
  using Register = typename V::Register;
  using Sums = Register[R][N];

#define THIMBLE_EACH(...)                                                \
  _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r) {                 \
    _Pragma("GCC unroll 4") for (int v = 0; v < N; ++v) { __VA_ARGS__; } \
  }

  static void run(const Bf16Task& t, int64_t row, const uint32_t* b, float* c) {
    Sums sums, branches[Shards::kLevels - 1];  // of the tree, those that wait for the ones to their right
    int waiting = 0;
    const int64_t a_col = t.a_col, ldc = t.ldc, *pairs = t.pairs;
    const float* a[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) a[r] = static_cast<const float*>(t.a) + t.rows[row + r];
    THIMBLE_EACH(sums[r][v] = t.accumulate ? V::load(c + r * ldc + v * V::kWidth) : V::zero())
    for (const Bf16Block *block = t.blocks, *end = block + t.block_count; block != end; ++block) {
      Sums even, odd;
      THIMBLE_EACH(even[r][v] = odd[r][v] = V::zero())
      for (int64_t pair = 0; pair < block->pairs; ++pair, ++pairs, b += kBf16Panel) {
        Register columns[N];
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) columns[v] = V::even(b + v * V::kWidth);
        add_products(a, *pairs, columns, even);
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) columns[v] = V::odd(b + v * V::kWidth);
        add_products(a, *pairs + a_col, columns, odd);
      }
      THIMBLE_EACH(sums[r][v] = V::add(sums[r][v], V::add(even[r][v], odd[r][v])))
      if (block->merges == Bf16Block::kShardGoesOn) continue;
      for (int i = 0; i < block->merges; ++i) {
        const Sums& left = branches[--waiting];
        THIMBLE_EACH(sums[r][v] = V::add(left[r][v], sums[r][v]))
      }
      if (block + 1 == end) break;
      Sums& own = branches[waiting++];
      THIMBLE_EACH(own[r][v] = sums[r][v]; sums[r][v] = V::zero())
    }
    THIMBLE_EACH(V::store(c + r * ldc + v * V::kWidth, sums[r][v]))
  }

  [[gnu::always_inline]] static void add_products(const float* const (&a)[R], int64_t offset,
                                                  const Register (&columns)[N], Sums& sums) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Register factor = V::broadcast(a[r] + offset);
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) sums[r][v] = V::multiply_add(factor, columns[v], sums[r][v]);
    }
  }

#undef THIMBLE_EACH
};

// A tile of `rows` rows, which is known only when running and at most R.
template <typename V, int R, int N>
void run_bf16_tile(const Bf16Task& t, int64_t row, int64_t rows, const uint32_t* b, float* c) {
  if constexpr (R > 1)
    if (rows < R) return run_bf16_tile<V, R - 1, N>(t, row, rows, b, c);
  Bf16Tile<V, R, N>::run(t, row, b, c);
}

// All rows, in tiles that are as high as each other, or nearly.
template <typename V, int N>
void run_bf16_column(const Bf16Task& t, int64_t column) {
  const uint32_t* b = t.b + column / kBf16Panel * t.b_panel + column % kBf16Panel;
  float* c = t.c + column;
  int64_t row = 0;
  for (int64_t tiles = (t.m + V::kRows - 1) / V::kRows; tiles > 0; --tiles) {
    const int64_t rows = (t.m - row) / tiles;
    run_bf16_tile<V, V::kRows, N>(t, row, rows, b, c);
    c += rows * t.ldc;
    row += rows;
  }
}

template <typename V>
void multiply_bf16(const Bf16Task& t) {
  constexpr int64_t kColumns = int64_t{V::kVectors} * V::kWidth;
  for (int64_t column = 0; column < t.n; column += kColumns)
    if (t.n - column > V::kWidth)
      run_bf16_column<V, V::kVectors>(t, column);
    else
      run_bf16_column<V, 1>(t, column);
}

template <int kBytes>
void interleave(const uint16_t* even, const uint16_t* odd, int64_t n, uint32_t* pairs, int64_t panel) {
  for (; n >= kBf16Panel; n -= kBf16Panel, even += kBf16Panel, odd += kBf16Panel, pairs += panel)
    for_each_vector<uint32_t, kBytes>(
        kBf16Panel, [=](auto count, int64_t i) __attribute__((always_inline)) {
          constexpr int kCount = decltype(count)::value;
          using Pairs = Vector<uint32_t, kCount>;
          store(pairs + i, __builtin_convertvector(load<kCount>(even + i), Pairs) |
                               (__builtin_convertvector(load<kCount>(odd + i), Pairs) << 16));
        });
  if (n == 0) return;
  for (int64_t i = 0; i < kBf16Panel; ++i) pairs[i] = i < n ? even[i] | uint32_t{odd[i]} << 16 : 0;
}

template <typename V, int kBytes>
constexpr Bf16GemmTable kBf16TableOf{true, multiply_bf16<V>, interleave<kBytes>};

}  // namespace
}  // namespace thimble::kernels
