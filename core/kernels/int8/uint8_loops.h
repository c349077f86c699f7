// Loops over uint8 element by element: the definition, and what vectors leave over. In an anonymous namespace, so that
// each instruction set has its own copy.
#pragma once

#include <thimble/core/kernels/int8/uint8_kernels.h>

// For the loop that follows: an element that is written has been read, and is not read again. So the output may lie
// where an input does, and still there are vectors.
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed"  // sanitizers' checks keep loops from being vectors
#define THIMBLE_EACH_BY_ITSELF _Pragma("clang loop vectorize(assume_safety)")
#else
#define THIMBLE_EACH_BY_ITSELF _Pragma("GCC ivdep")
#endif

namespace thimble::kernels {
namespace {

// Adding 1.5 * 2^23 rounds a magnitude below 2^22 half to even, to an integer that the sum's lowest bits hold: as an
// int32, the sum is that integer plus a multiple of 2^22.
[[gnu::always_inline]] inline uint8_t rounded_plus(float v, int32_t zero_point) {
  return static_cast<uint8_t>(__builtin_bit_cast(int32_t, v + 12582912.0f) + zero_point);
}

// Written so that NaN becomes low.
[[gnu::always_inline]] inline float kept_within(float v, float low, float high) {
  const float above = v > low ? v : low;
  return above < high ? above : high;
}

[[gnu::always_inline]] inline float centered(uint8_t v, int32_t zero_point) {
  return static_cast<float>(static_cast<int32_t>(v) - zero_point);
}

[[maybe_unused]] void look_up_each(const uint8_t* x, int64_t n, const uint8_t* table, uint8_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = table[x[i]];
}

void clamp_each(const uint8_t* x, int64_t n, uint8_t low, uint8_t high, uint8_t* out) {
  THIMBLE_EACH_BY_ITSELF
  for (int64_t i = 0; i < n; ++i) {
    const uint8_t above = x[i] > low ? x[i] : low;
    out[i] = above < high ? above : high;
  }
}

// Two products and a sum (or the larger, or the smaller) of floats in this order on every instruction set: nothing is
// contracted.
template <typename F>
[[gnu::always_inline]] inline void combine_each(const uint8_t* a, const uint8_t* b, int64_t n,
                                                const QuantizedAddConstants& constants, uint8_t* out, F&& f) {
  const QuantizedAddConstants c = constants;
  THIMBLE_EACH_BY_ITSELF
  for (int64_t i = 0; i < n; ++i) {
    const float v = f(centered(a[i], c.a_zero_point) * c.a_scale, centered(b[i], c.b_zero_point) * c.b_scale);
    out[i] = rounded_plus(kept_within(v, c.low, c.high), c.zero_point);
  }
}

void add_each(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out) {
  combine_each(
      a, b, n, c, out, [](float x, float y) __attribute__((always_inline)) { return x + y; });
}

void maximum_each(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out) {
  combine_each(
      a, b, n, c, out, [](float x, float y) __attribute__((always_inline)) { return x > y ? x : y; });
}

void minimum_each(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out) {
  combine_each(
      a, b, n, c, out, [](float x, float y) __attribute__((always_inline)) { return x < y ? x : y; });
}

// The product of integers is exact.
void mul_each(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedMulConstants& constants, uint8_t* out) {
  const QuantizedMulConstants c = constants;
  THIMBLE_EACH_BY_ITSELF
  for (int64_t i = 0; i < n; ++i) {
    const float product = centered(a[i], c.a_zero_point) * centered(b[i], c.b_zero_point) * c.scale;
    out[i] = rounded_plus(kept_within(product, c.low, c.high), c.zero_point);
  }
}

void sum_each(const Uint8Window& window, int64_t channels, uint32_t* __restrict sums) {
  for (int64_t c = 0; c < channels; ++c) sums[c] = 0;
  for (int64_t row = 0; row < window.rows; ++row)
    for (int64_t column = 0; column < window.columns; ++column) {
      const uint8_t* __restrict pixel = window.first + row * window.row_step + column * window.column_step;
      for (int64_t c = 0; c < channels; ++c) sums[c] += pixel[c];
    }
}

void mean_each(const Uint8Window& window, int64_t channels, uint8_t* out) {
  constexpr int64_t kBlock = 64;
  const auto count = static_cast<float>(window.pixels());
  for (int64_t first = 0; first < channels; first += kBlock) {
    const int64_t n = channels - first < kBlock ? channels - first : kBlock;
    Uint8Window part = window;
    part.first += first;
    uint32_t sums[kBlock];
    sum_each(part, n, sums);
    for (int64_t c = 0; c < n; ++c)
      out[first + c] = rounded_plus(static_cast<float>(static_cast<int32_t>(sums[c])) / count, 0);
  }
}

}  // namespace
}  // namespace thimble::kernels
