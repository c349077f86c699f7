// Loops of resampling, which the compiler vectorizes. In an anonymous namespace, so that each instruction set has its
// own copy.
#pragma once

#include <thimble/core/kernels/image/resize_rows.h>

namespace thimble::kernels {
namespace {

[[gnu::always_inline]] inline void put(float v, float* to) { *to = v; }
// Adding 1.5 * 2^23 rounds half to even, and leaves the integer in the lowest bits.
[[gnu::always_inline]] inline void put(float v, uint8_t* to) {
  *to = static_cast<uint8_t>(__builtin_bit_cast(int32_t, v + 12582912.0f));
}

// to[i] = the sum of weights[t] * x(t)[i], in this order.
template <typename T, typename Out, typename Rows>
[[gnu::always_inline]] inline void blend(Rows&& x, const float* weights, int64_t taps, int64_t n, Out* __restrict to) {
  constexpr int64_t kBlock = 64;
  const float first = weights[0];
  const T* __restrict a = x(0);
  if (taps == 1) {
    for (int64_t i = 0; i < n; ++i) put(first * static_cast<float>(a[i]), to + i);
    return;
  }
  const float second = weights[1];
  const T* __restrict b = x(1);
  if (taps == 2) {
    for (int64_t i = 0; i < n; ++i) put(first * static_cast<float>(a[i]) + second * static_cast<float>(b[i]), to + i);
    return;
  }
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t count = n - begin < kBlock ? n - begin : kBlock;
    float sums[kBlock];
    for (int64_t i = 0; i < count; ++i)
      sums[i] = first * static_cast<float>(a[begin + i]) + second * static_cast<float>(b[begin + i]);
    for (int64_t t = 2; t < taps; ++t) {
      const T* __restrict c = x(t) + begin;
      const float w = weights[t];
      for (int64_t i = 0; i < count; ++i) sums[i] = sums[i] + w * static_cast<float>(c[i]);
    }
    for (int64_t i = 0; i < count; ++i) put(sums[i], to + begin + i);
  }
}

template <typename T>
void blend_rows(const T* const* rows, const float* weights, int64_t taps, int64_t n, float* out) {
  blend<T>(
      [rows](int64_t t) __attribute__((always_inline)) { return rows[t]; }, weights, taps, n, out);
}

// An infinite input that an output does not see must not make it NaN.
template <typename T>
void blend_elements(const float* __restrict x, const ResizeColumns& columns, T* __restrict y) {
  const ResizeColumns c = columns;
  const int64_t n = c.out * c.channels;
  for (int64_t i = 0; i < n; ++i) {
    const float one = c.of_first[i] * x[c.first[i]], both = one + c.of_second[i] * x[c.second[i]];
    put(c.of_second[i] == 0 ? one : both, y + i);
  }
}

template <typename T>
void blend_pixels(const float* x, const ResizeColumns& columns, T* y) {
  const ResizeColumns& c = columns;
  if (c.first) return blend_elements(x, c, y);
  for (int64_t j = 0; j < c.out; ++j) {
    const int64_t* index = c.index + c.starts[j];
    blend<float>(
        [=](int64_t t) __attribute__((always_inline)) { return x + index[t] * c.channels; }, c.weight + c.starts[j],
        c.starts[j + 1] - c.starts[j], c.channels, y + j * c.channels);
  }
}

constexpr ResizeTable kResizeLoops{{blend_rows<float>, blend_pixels<float>},
                                   {blend_rows<uint8_t>, blend_pixels<uint8_t>}};

}  // namespace
}  // namespace thimble::kernels
