// The loops of int8_gemm(), the same for every instruction set. Included by each int8_gemm_<isa>.cpp, which says what a
// vector V is; in an anonymous namespace, so that each has its own copy, compiled for its instruction set.
//
// V is 16 output channels wide (one panel) and has
//   kRows, kPanels         size of the register tile
//   kFewRows, kManyPanels  the same when there are at most kFewRows rows
//   Sums, Weights, Activations
//   zero(), store(int32_t*, Sums)
//   weights(const int8_t*)                    64 bytes: [16 channels][4]
//   activations(uint32_t)                     4 bytes, for all channels
//   add_products(Sums, Activations, Weights)  sums[c] + sum over i of activations[i] * weights[c][i]
//   Scale(bias, multiplier, offset, count)    the constants of a panel, of which count channels exist
//   Limits(task)                              the clamp and the zero point
//   finish(const int32_t* sums, Scale, Limits, uint8_t* or float* out)  writes count results
//   finish_row(const int32_t* sums, Scale, Limits, zero_point, scale, float* out)  the same for a row's own parameters
//   kAtOnce  panels whose uint8 results fill a register, 1 if there is nothing to gain; if there is, too,
//   bias(Scale), load_sums(const int32_t*, Scale)  Sums, those in memory with the bias added
//   finish_several<kBeside>(sums_of, scale_of, Limits, out_of)  kAtOnce panels: sums_of(j), which hold the bias, go to
//                                             out_of(j), with constants scale_of(j); kBeside are a row's, side by side
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <thimble/core/kernels/int8/int8_gemm_task.h>

namespace thimble::kernels {
namespace {

constexpr int kPanel = 16;
constexpr float kNoOffset[kPanel] = {};

// f(i) for i from 0 to N - 1 as compile time constants: what is indexed with them stays in registers.
template <int N, typename F>
[[gnu::always_inline]] inline void repeat(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, i>()), ...);
  }
  (std::make_integer_sequence<int, N>());
}

// For vectors without masked stores: the first count of 16 results.
template <typename Out>
[[gnu::always_inline]] inline void store_first(int count, const Out* results, Out* out) {
  if (count == kPanel) {
    std::memcpy(out, results, kPanel * sizeof(Out));
  } else {
    for (int c = 0; c < count; ++c) out[c] = results[c];
  }
}

// The epilogue of P panels from `panel` on.
template <typename V, typename Out, int P>
class Epilogue {
 public:
  Epilogue(const Int8GemmTask& t, int64_t panel)
      : limits_(t),
        row_zero_points_(t.row_zero_points),
        row_scales_(t.row_scales),
        row_sums_(t.row_sums),
        out_(static_cast<Out*>(t.out) + panel * kPanel),
        ldc_(t.ldc) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) scales_[p] = scale_of(t, panel + p);
  }

  // So many rows have whole registers of uint8 results.
  static constexpr int kStep = P % V::kAtOnce == 0 ? 1 : P % 2 == 0 ? V::kAtOnce / 2 : V::kAtOnce;
  static constexpr bool kHasSteps = std::is_same_v<Out, uint8_t> && V::kAtOnce > 1;

  // Sends sums[count][P][16] of rows from `row` on on their way.
  [[gnu::always_inline]] void finish(int64_t row, int64_t count, const int32_t* sums) const {
    int64_t r = 0;
    if constexpr (kHasSteps)
      for (; !row_sums_ && r + kStep <= count; r += kStep, sums += kStep * P * kPanel) {
        const auto loaded = [&](int i) __attribute__((always_inline)) {
          return V::load_sums(sums + i * kPanel, scales_[i % P]);
        };
        finish_step(out_ + (row + r) * ldc_, loaded);
      }
    for (; r < count; ++r, sums += P * kPanel) finish_one(row + r, sums);
  }

  // What the sums of a panel begin with that go to finish_tile().
  [[gnu::always_inline]] typename V::Sums bias(int p) const { return V::bias(scales_[p]); }
  // The same from registers, for R rows that are whole steps. The sums hold the bias.
  template <int R>
  [[gnu::always_inline]] void finish_tile(int64_t row, const typename V::Sums (&sums)[R][P]) const {
    Out* out = out_ + row * ldc_;
    repeat<R / kStep>([&](auto step) __attribute__((always_inline)) {
      const auto own = [&](auto i) __attribute__((always_inline)) { return sums[step * kStep + i / P][i % P]; };
      finish_step(out, own);
      out += kStep * ldc_;
    });
  }

 private:
  // kStep rows, sums_of(i) being those of their i-th panel.
  template <typename SumsOf>
  [[gnu::always_inline]] void finish_step(Out* out, SumsOf&& sums_of) const {
    constexpr int kBeside = P < V::kAtOnce ? P : P % V::kAtOnce == 0 ? V::kAtOnce : 1;
    repeat<kStep * P / V::kAtOnce>([&](auto part) __attribute__((always_inline)) {
      constexpr int kFirst = part * V::kAtOnce;
      const auto sums = [&](auto j) __attribute__((always_inline)) {
        return sums_of(std::integral_constant<int, kFirst + j>());
      };
      const auto scale = [&](int j) __attribute__((always_inline))->const auto& { return scales_[(kFirst + j) % P]; };
      const auto to = [&](int j) __attribute__((always_inline)) {
        return out + (kFirst + j) / P * ldc_ + (kFirst + j) % P * kPanel;
      };
      V::template finish_several<kBeside>(sums, scale, limits_, to);
    });
  }

  [[gnu::always_inline]] void finish_one(int64_t row, const int32_t* sums) const {
    Out* out = out_ + row * ldc_;
    if constexpr (std::is_same_v<Out, float>) {
      if (row_scales_) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p)
          V::finish_row(sums + p * kPanel, scales_[p], limits_, row_zero_points_[row], row_scales_[row],
                        out + p * kPanel);
        return;
      }
    } else if (row_sums_) {
      alignas(64) int32_t whole[P * kPanel];
      add_to_all(sums, row_sums_[row], whole);
      finish_sums(whole, out);
      return;
    }
    finish_sums(sums, out);
  }

  // The last panel may be partly filled: its constants are copied, to have 16 to read.
  static typename V::Scale scale_of(const Int8GemmTask& t, int64_t panel) {
    const int64_t first = panel * kPanel, count = first < t.n ? t.n - first : 0;
    if (count >= kPanel) return {t.bias + first, t.multiplier + first, t.offset ? t.offset + first : kNoOffset, kPanel};
    int32_t bias[kPanel] = {};
    float multiplier[kPanel] = {}, offset[kPanel] = {};
    for (int64_t c = 0; c < count; ++c) {
      bias[c] = t.bias[first + c];
      multiplier[c] = t.multiplier[first + c];
      if (t.offset) offset[c] = t.offset[first + c];
    }
    return {bias, multiplier, offset, static_cast<int>(count)};
  }

  [[gnu::always_inline]] void finish_sums(const int32_t* sums, Out* out) const {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) V::finish(sums + p * kPanel, scales_[p], limits_, out + p * kPanel);
  }

  // Unsigned, since a part of a sum may wrap around.
  [[gnu::always_inline]] static void add_to_all(const int32_t* sums, int32_t row_sum, int32_t* whole) {
    for (int i = 0; i < P * kPanel; ++i)
      whole[i] = static_cast<int32_t>(static_cast<uint32_t>(sums[i]) + static_cast<uint32_t>(row_sum));
  }

  typename V::Limits limits_;
  typename V::Scale scales_[P];
  const int32_t* row_zero_points_;
  const float* row_scales_;
  const int32_t* row_sums_;
  Out* out_;
  int64_t ldc_;
};

// The first n <= 4 bytes at p, followed by zeros, in memory order.
[[gnu::always_inline]] inline uint32_t load_bytes(const uint8_t* p, int64_t n) {
  uint8_t bytes[4] = {};
  if (n > 3) {
    std::memcpy(bytes, p, 4);
  } else {
    bytes[0] = p[0];
    if (n > 1) bytes[1] = p[1];
    if (n > 2) bytes[2] = p[2];
  }
  uint32_t four;
  std::memcpy(&four, bytes, 4);
  return four;
}

// One group of 4 input features of an R x P register tile.
template <typename V, int R, int P, typename Load>
[[gnu::always_inline]] inline void add_group(typename V::Sums (&sums)[R][P], const int8_t* weights, int64_t stride,
                                             Load load) {
  typename V::Weights w[P];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) w[p] = V::weights(weights + p * stride);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const typename V::Activations a = load(r);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) sums[r][p] = V::add_products(sums[r][p], a, w[p]);
  }
}

[[gnu::always_inline]] inline const uint8_t* row_of(const Int8GemmTask& t, int64_t row) {
  return t.a + (t.rows ? t.rows[row] : row * t.lda);
}

// Where R rows begin.
template <int R>
[[gnu::always_inline]] inline void point_to_rows(const Int8GemmTask& t, int64_t row, const uint8_t* (&rows)[R]) {
  repeat<R>([&](auto r) __attribute__((always_inline)) { rows[r] = t.a + t.rows[row + r]; });
}

// Sums begin with start(p), the same for all rows.
template <typename V, int R, int P, typename Start>
[[gnu::always_inline]] inline void begin_sums(typename V::Sums (&sums)[R][P], Start&& start) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) sums[r][p] = start(p);
  }
}

// The sums over all input features. Rows come as pointers, so they may lie anywhere.
template <typename V, int R, int P, typename Start>
[[gnu::always_inline]] inline void sum_tile(const Int8GemmTask& t, const uint8_t* const* rows, const int8_t* weights,
                                            Start&& start, typename V::Sums (&sums)[R][P]) {
  const int64_t k = t.k, stride = t.panel_stride;
  begin_sums<V>(sums, start);
  for (int64_t s = 0; s < t.segment_count; ++s) {
    const uint8_t* row[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) row[r] = rows[r] + t.segments[s];
    int64_t i = 0;
    for (; i + 4 <= k; i += 4, weights += 64)
      add_group<V>(sums, weights, stride, [&](int r) { return V::activations(load_bytes(row[r] + i, 4)); });
    if (i < k) {
      add_group<V>(sums, weights, stride, [&](int r) { return V::activations(load_bytes(row[r] + i, k - i)); });
      weights += 64;
    }
  }
}

// The same for rows of one segment that lie lda apart, of which every third has a pointer: the others are an address
// of the form pointer + 1 or 2 * lda away, and all that is needed stays in registers.
template <typename V, int R, int P, typename Start>
[[gnu::always_inline]] inline void sum_strided_tile(const Int8GemmTask& t, int64_t row, const int8_t* weights,
                                                    Start&& start, typename V::Sums (&sums)[R][P]) {
  constexpr int kPointers = (R + 2) / 3;
  const int64_t k = t.k, stride = t.panel_stride, lda = t.lda;
  const uint8_t* third[kPointers];
#pragma GCC unroll 16
  for (int q = 0; q < kPointers; ++q) third[q] = t.a + (row + 3 * q) * lda;
  begin_sums<V>(sums, start);
  const auto add = [&](int64_t count) __attribute__((always_inline)) {
    add_group<V>(sums, weights, stride,
                 [&](int r) { return V::activations(load_bytes(third[r / 3] + r % 3 * lda, count)); });
    weights += 64;
  };
  int64_t i = 0;
  for (; i + 4 <= k; i += 4) {
    add(4);
#pragma GCC unroll 16
    for (int q = 0; q < kPointers; ++q) third[q] += 4;
  }
  if (i < k) add(k - i);
}

// out[R][P][16] = sums over all input features.
template <typename V, int R, int P>
void multiply(const Int8GemmTask& t, const uint8_t* const* rows, const int8_t* weights, int32_t* out) {
  typename V::Sums sums[R][P];
  sum_tile<V>(
      t, rows, weights, [](int) { return V::zero(); }, sums);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) V::store(out + (r * P + p) * kPanel, sums[r][p]);
  }
}

// multiply() for a number of rows known only when running, at most R.
template <typename V, int R, int P>
void multiply_rows(const Int8GemmTask& t, int64_t count, const uint8_t* const* rows, const int8_t* weights,
                   int32_t* out) {
  if (count == R) return multiply<V, R, P>(t, rows, weights, out);
  if constexpr (R > 1) multiply_rows<V, R - 1, P>(t, count, rows, weights, out);
}

// Panels [panel, panel + P) of rows [row_begin, row_end).
template <typename V, typename Out, int R, int P>
void run_panels(const Int8GemmTask& t, int64_t row_begin, int64_t row_end, int64_t panel) {
  const int8_t* weights = t.weights + panel * t.panel_stride;
  const Epilogue<V, Out, P> epilogue(t, panel);
  for (int64_t row = row_begin; row < row_end; row += R) {
    const int64_t count = row_end - row < R ? row_end - row : R;
    const uint8_t* rows[R];
    if constexpr (Epilogue<V, Out, P>::kHasSteps && R % Epilogue<V, Out, P>::kStep == 0) {
      if (count == R && !t.row_sums) {
        typename V::Sums sums[R][P];
        const auto bias = [&](int p) __attribute__((always_inline)) { return epilogue.bias(p); };
        if (t.rows) {
          point_to_rows(t, row, rows);
          sum_tile<V>(t, rows, weights, bias, sums);
        } else {
          sum_strided_tile<V>(t, row, weights, bias, sums);
        }
        epilogue.template finish_tile<R>(row, sums);
        continue;
      }
    }
    for (int64_t r = 0; r < count; ++r) rows[r] = row_of(t, row + r);
    alignas(64) int32_t sums[R * P * kPanel];
    multiply_rows<V, R, P>(t, count, rows, weights, sums);
    epilogue.finish(row, count, sums);
  }
}

template <typename V, typename Out, int R, int P>
void run_tiles(const Int8GemmTask& t, const Int8GemmRange& range) {
  // The rows of a block stay in the second level cache while all panels pass over them.
  constexpr int64_t kBlockBytes = 512 * 1024;
  const int64_t rows_per_block = (kBlockBytes / (t.segment_count * t.k + 1) / R + 1) * R;
  for (int64_t row = range.row_begin; row < range.row_end; row += rows_per_block) {
    const int64_t row_end = range.row_end - row < rows_per_block ? range.row_end : row + rows_per_block;
    int64_t panel = range.panel_begin;
    for (; panel + P <= range.panel_end; panel += P) run_panels<V, Out, R, P>(t, row, row_end, panel);
    for (; panel < range.panel_end; ++panel) run_panels<V, Out, R, 1>(t, row, row_end, panel);
  }
}

template <typename V, typename Out>
void run_range(const Int8GemmTask& t, const Int8GemmRange& range) {
  if (range.row_end - range.row_begin <= V::kFewRows) {
    run_tiles<V, Out, V::kFewRows, V::kManyPanels>(t, range);
  } else {
    run_tiles<V, Out, V::kRows, V::kPanels>(t, range);
  }
}

template <typename V>
void run_task(const Int8GemmTask& t, const Int8GemmRange& range) {
  if (t.float_out) {
    run_range<V, float>(t, range);
  } else {
    run_range<V, uint8_t>(t, range);
  }
}

}  // namespace
}  // namespace thimble::kernels
