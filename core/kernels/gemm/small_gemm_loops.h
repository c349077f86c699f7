// The loops of small_gemm.h. Included by one source for each instruction set, which says what a vector V is, as in
// float_vectors.h, and the size of the register tile, V::kRows rows of V::kVectors vectors.
#pragma once

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/reduce/shards.h>

namespace thimble::kernels {
namespace {

// Rows [0, R) and N vectors of columns, of which the last holds `last` columns.
template <typename V, int R, int N, bool Partial>
struct Tile {
  using T = typename V::Value;
  using Register = typename V::Register;

  [[gnu::always_inline]] static Register load(const T* p, int v, int last) {
    return Partial && v == N - 1 ? V::load(p + v * V::kWidth, last) : V::load(p + v * V::kWidth);
  }
  [[gnu::always_inline]] static void store(T* p, int v, int last, Register value) {
    if (Partial && v == N - 1)
      V::store(p + v * V::kWidth, value, last);
    else
      V::store(p + v * V::kWidth, value);
  }

  using Sums = Register[R][N];

  // f(r, v) for each register of a tile.
  template <typename F>
  [[gnu::always_inline]] static void each(F&& f) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) f(r, v);
    }
  }

#define THIMBLE_EACH(...) each([&](int r, int v) __attribute__((always_inline)) { __VA_ARGS__; })

  static void run(const SmallGemm<T>& t, const T* a, const T* b, const Epilogue<T>& epilogue, T* c, int last) {
    Sums sums;
    THIMBLE_EACH(sums[r][v] = V::zero());
    // In registers: segments may be as short as a few elements.
    const int64_t k = t.k, a_row = t.a_row, a_col = t.a_col, ldb = t.ldb;
    for (const int64_t *segment = t.segments, *end = segment + t.segment_count; segment != end; ++segment) {
      const T* factors = a + *segment;
      for (int64_t p = 0; p < k; ++p, factors += a_col, b += ldb) add_products(factors, a_row, b, last, sums);
    }
    finish(sums, t, epilogue, c, last);
  }

  // The same of shards, two at a time: their sums meet in registers. Those of pairs wait in memory for what stands to
  // their right in the tree.
  static void run_shards(const SmallGemm<T>& t, const T* a, const T* b, const Epilogue<T>& epilogue, T* c, int last) {
    const int64_t a_row = t.a_row, a_col = t.a_col, ldb = t.ldb, to_second_a = t.shard_terms * a_col,
                  to_second_b = t.shard_terms * ldb;
    Sums waiting[Shards::kLevels - 2];
    int count = 0;
    for (int64_t pair = 0, terms = t.k;; ++pair, terms -= 2 * t.shard_terms) {
      Sums sums, second;
      THIMBLE_EACH(sums[r][v] = second[r][v] = V::zero());
      const int64_t in_first = terms < t.shard_terms ? terms : t.shard_terms, rest = terms - in_first,
                    in_second = rest < t.shard_terms ? rest : t.shard_terms;
      int64_t p = 0;
      const T *second_a = a + to_second_a, *second_b = b + to_second_b;
      // Or the compiler keeps the distance of each row of the second shard from a, for which registers lack.
      asm("" : "+r"(second_a), "+r"(second_b));
      for (; p < in_second; ++p, a += a_col, b += ldb, second_a += a_col, second_b += ldb) {
        add_products(a, a_row, b, last, sums);
        add_products(second_a, a_row, second_b, last, second);
      }
      for (; p < in_first; ++p, a += a_col, b += ldb) add_products(a, a_row, b, last, sums);
      if (in_second > 0) THIMBLE_EACH(sums[r][v] = V::add(sums[r][v], second[r][v]));
      // A pair ends as many branches as its number, from 0 on, has ones at its end; the last one all that wait.
      const bool is_last = terms <= 2 * t.shard_terms;
      for (int64_t number = pair; is_last ? count > 0 : number % 2 == 1; number /= 2) {
        const Sums& left = waiting[--count];
        THIMBLE_EACH(sums[r][v] = V::add(sums[r][v], left[r][v]));
      }
      if (is_last) return finish(sums, t, epilogue, c, last);
      Sums& own = waiting[count++];
      THIMBLE_EACH(own[r][v] = sums[r][v]);
      a += to_second_a;
      b += to_second_b;
    }
  }

  // sums += one column of factors times one row of b.
  [[gnu::always_inline]] static void add_products(const T* factors, int64_t a_row, const T* b, int last, Sums& sums) {
    Register columns[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) columns[v] = load(b, v, last);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Register factor = V::broadcast(factors + r * a_row);
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) sums[r][v] = V::multiply_add(factor, columns[v], sums[r][v]);
    }
  }

  [[gnu::always_inline]] static void finish(Sums& sums, const SmallGemm<T>& t, const Epilogue<T>& epilogue, T* c,
                                            int last) {
    const int64_t ldc = t.ldc;
    if (t.accumulate) THIMBLE_EACH(sums[r][v] = V::add(load(c + r * ldc, v, last), sums[r][v]));
    if (epilogue.bias) {
      Register bias[N];
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) bias[v] = load(epilogue.bias, v, last);
      THIMBLE_EACH(sums[r][v] = V::add(sums[r][v], bias[v]));
    }
    if (epilogue.addend) THIMBLE_EACH(sums[r][v] = V::add(sums[r][v], load(epilogue.addend + r * ldc, v, last)));
    if (epilogue.clamps()) {
      const Register lower = V::broadcast(&epilogue.lower), upper = V::broadcast(&epilogue.upper);
      THIMBLE_EACH(sums[r][v] = V::min(upper, V::max(lower, sums[r][v])));  // in this order NaN stays
    }
    THIMBLE_EACH(store(c + r * ldc, v, last, sums[r][v]));
  }

#undef THIMBLE_EACH
};

// A tile of `rows` rows, which is known only when running and at most R.
template <typename V, int R, int N, bool Partial, bool InShards, typename T = typename V::Value>
void run_tile(const SmallGemm<T>& t, int64_t rows, const T* a, int64_t column, T* c, int last) {
  if constexpr (R > 1)
    if (rows < R) return run_tile<V, R - 1, N, Partial, InShards>(t, rows, a, column, c, last);
  const T* b = t.b + column / kGemmPanel * t.b_panel + column % kGemmPanel;
  const Epilogue<T> epilogue = t.epilogue.at(column, c + column - t.c);
  if constexpr (InShards)
    Tile<V, R, N, Partial>::run_shards(t, a, b, epilogue, c + column, last);
  else
    Tile<V, R, N, Partial>::run(t, a, b, epilogue, c + column, last);
}

// All rows of all products, in tiles that are as high as each other, or nearly: low ones wait for the latency of their
// additions.
template <typename V, int R, int N, bool Partial, bool InShards, typename T = typename V::Value>
void run_rows(const SmallGemm<T>& t, int64_t column, int last) {
  for (int64_t product = 0; product < t.products; ++product) {
    const T* a = t.a + product * t.a_step;
    T* c = t.c + product * t.c_step;
    int64_t left = t.m;
    for (int64_t tiles = (t.m + R - 1) / R; tiles > 0; --tiles) {
      const int64_t rows = left / tiles;
      run_tile<V, R, N, Partial, InShards>(t, rows, a, column, c, last);
      a += rows * t.a_row;
      c += rows * t.ldc;
      left -= rows;
    }
  }
}

template <typename V, int N, bool InShards>
void run_columns(const SmallGemm<typename V::Value>& t, int64_t column) {
  constexpr int64_t kColumns = int64_t{N} * V::kWidth;
  // Narrower tiles are taller, to keep as many sums in flight. Two shards' sums take the registers of one.
  constexpr int kSums = V::kRows * V::kVectors / N, kMost = kSums > 14 ? 14 : kSums,
                kTall = InShards ? kMost / 2 : kMost;
  for (; column + kColumns <= t.n; column += kColumns) run_rows<V, kTall, N, false, InShards>(t, column, V::kWidth);
  const int64_t left = t.n - column;
  if constexpr (N > 1) {
    if (left > kColumns - V::kWidth)
      run_rows<V, kTall, N, true, InShards>(t, column, static_cast<int>(left - (kColumns - V::kWidth)));
    else if (left > 0)
      run_columns<V, N - 1, InShards>(t, column);
  } else if (left > 0) {
    run_rows<V, kTall, 1, true, InShards>(t, column, static_cast<int>(left));
  }
}

template <typename V>
void run(const SmallGemm<typename V::Value>& t) {
  if constexpr (sizeof(typename V::Value) == sizeof(float))  // code that nobody calls otherwise
    if (t.shard_terms > 0) return run_columns<V, V::kVectors, true>(t, 0);
  run_columns<V, V::kVectors, false>(t, 0);
}

template <typename Float, typename Double>
constexpr SmallGemmTable kTableOf{run<Float>, run<Double>};

}  // namespace
}  // namespace thimble::kernels
