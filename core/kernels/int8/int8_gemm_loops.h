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
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include <thimble/core/kernels/int8/int8_gemm_task.h>

namespace thimble::kernels {
namespace {

constexpr int kPanel = 16;
constexpr float kNoOffset[kPanel] = {};

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

  // Sends sums[P][16] of one row on its way.
  [[gnu::always_inline]] void finish(int64_t row, const int32_t* sums) const {
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

 private:
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

// out[R][P][16] = sums over all input features. Rows come as pointers, so they may lie anywhere.
template <typename V, int R, int P>
void multiply(const Int8GemmTask& t, const uint8_t* const* rows, const int8_t* weights, int32_t* out) {
  const int64_t k = t.k, stride = t.panel_stride;
  typename V::Sums sums[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) sums[r][p] = V::zero();
  }
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
    for (int64_t r = 0; r < count; ++r) rows[r] = row_of(t, row + r);
    alignas(64) int32_t sums[R * P * kPanel];
    multiply_rows<V, R, P>(t, count, rows, weights, sums);
    for (int64_t r = 0; r < count; ++r) epilogue.finish(row + r, sums + r * P * kPanel);
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
