// The loops of small_gemm.h. Included by one source for each instruction set, which says what a vector V is, as in
// float_vectors.h, and the size of the register tile, V::kRows rows of V::kVectors vectors.
#pragma once

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/reduce/shards.h>

namespace thimble::kernels {
namespace {

// Those of float64 would be code that nobody calls.
template <typename T>
constexpr bool kHasShards = sizeof(T) == sizeof(float);

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
    Sums branches[Shards::kLevels - 1];  // of the tree, that wait for the ones to their right
    int waiting = 0;
    for (const int64_t *segment = t.segments, *end = segment + t.segment_count; segment != end; ++segment) {
      const bool is_last = segment + 1 == end;
      const T* factors = a + *segment;
      for (int64_t p = kHasShards<T> && t.shards && is_last ? k - t.last_k : 0; p < k;
           ++p, factors += a_col, b += ldb) {
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
      if (!kHasShards<T> || !t.shards) continue;
      // A shard ends as many branches as its number, from 0 on, has ones at its end; the last one all that wait.
      for (int64_t shard = segment - t.segments; is_last ? waiting > 0 : shard % 2 == 1; shard /= 2) {
        const Sums& left = branches[--waiting];
        THIMBLE_EACH(sums[r][v] = V::add(sums[r][v], left[r][v]));
      }
      if (is_last) break;
      Sums& own = branches[waiting++];
      THIMBLE_EACH(own[r][v] = sums[r][v]; sums[r][v] = V::zero());
    }
    finish(sums, t, epilogue, c, last);
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
template <typename V, int R, int N, bool Partial, typename T = typename V::Value>
void run_tile(const SmallGemm<T>& t, int64_t rows, const T* a, int64_t column, T* c, int last) {
  if constexpr (R > 1)
    if (rows < R) return run_tile<V, R - 1, N, Partial>(t, rows, a, column, c, last);
  const T* b = t.b + column / kGemmPanel * t.b_panel + column % kGemmPanel;
  Tile<V, R, N, Partial>::run(t, a, b, t.epilogue.at(column, c + column - t.c), c + column, last);
}

// All rows of all products, in tiles that are as high as each other, or nearly: low ones wait for the latency of their
// additions.
template <typename V, int R, int N, bool Partial, typename T = typename V::Value>
void run_rows(const SmallGemm<T>& t, int64_t column, int last) {
  for (int64_t product = 0; product < t.products; ++product) {
    const T* a = t.a + product * t.a_step;
    T* c = t.c + product * t.c_step;
    int64_t left = t.m;
    for (int64_t tiles = (t.m + R - 1) / R; tiles > 0; --tiles) {
      const int64_t rows = left / tiles;
      run_tile<V, R, N, Partial>(t, rows, a, column, c, last);
      a += rows * t.a_row;
      c += rows * t.ldc;
      left -= rows;
    }
  }
}

template <typename V, int N>
void run_columns(const SmallGemm<typename V::Value>& t, int64_t column) {
  constexpr int64_t kColumns = int64_t{N} * V::kWidth;
  // Narrower tiles are taller, to keep as many sums in flight.
  constexpr int kTall = V::kRows * V::kVectors / N > 14 ? 14 : V::kRows * V::kVectors / N;
  for (; column + kColumns <= t.n; column += kColumns) run_rows<V, kTall, N, false>(t, column, V::kWidth);
  const int64_t left = t.n - column;
  if constexpr (N > 1) {
    if (left > kColumns - V::kWidth)
      run_rows<V, kTall, N, true>(t, column, static_cast<int>(left - (kColumns - V::kWidth)));
    else if (left > 0)
      run_columns<V, N - 1>(t, column);
  } else if (left > 0) {
    run_rows<V, kTall, 1, true>(t, column, static_cast<int>(left));
  }
}

template <typename V>
void run(const SmallGemm<typename V::Value>& t) {
  run_columns<V, V::kVectors>(t, 0);
}

template <typename Float, typename Double>
constexpr SmallGemmTable kTableOf{run<Float>, run<Double>};

}  // namespace
}  // namespace thimble::kernels
