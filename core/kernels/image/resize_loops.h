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

// put(sum, i) of each sum of weights[t] * x(t)[i], modulo 2^16.
template <typename T, typename Rows, typename Put>
[[gnu::always_inline]] inline void blend_fixed(Rows&& x, const uint16_t* weights, int64_t taps, int64_t n,
                                               Put&& store) {
  constexpr int64_t kBlock = 64;
  const uint16_t first = weights[0];
  const T* __restrict a = x(0);
  if (taps == 1) {
    for (int64_t i = 0; i < n; ++i) store(static_cast<uint16_t>(first * a[i]), i);
    return;
  }
  const uint16_t second = weights[1];
  const T* __restrict b = x(1);
  if (taps == 2) {
    for (int64_t i = 0; i < n; ++i) store(static_cast<uint16_t>(first * a[i] + second * b[i]), i);
    return;
  }
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t count = n - begin < kBlock ? n - begin : kBlock;
    uint16_t sums[kBlock];
    for (int64_t i = 0; i < count; ++i) sums[i] = static_cast<uint16_t>(first * a[begin + i] + second * b[begin + i]);
    for (int64_t t = 2; t < taps; ++t) {
      const T* __restrict c = x(t) + begin;
      const uint16_t w = weights[t];
      for (int64_t i = 0; i < count; ++i) sums[i] = static_cast<uint16_t>(sums[i] + w * c[i]);
    }
    for (int64_t i = 0; i < count; ++i) store(sums[i], begin + i);
  }
}

void blend_rows_fixed(const uint8_t* const* rows, const uint16_t* weights, int64_t taps, int64_t n,
                      uint16_t* __restrict out) {
  blend_fixed<uint8_t>(
      [rows](int64_t t) __attribute__((always_inline)) { return rows[t]; }, weights, taps,
      n, [out](uint16_t v, int64_t i) __attribute__((always_inline)) { out[i] = v; });
}

template <int kShift>
void blend_pixels_fixed_by(const uint16_t* x, const ResizeFixedColumns& columns, uint8_t* y) {
  const ResizeFixedColumns c = columns;
  for (int64_t j = 0; j < c.out; ++j) {
    const int64_t* index = c.index + c.starts[j];
    uint8_t* __restrict to = y + j * c.channels;
    blend_fixed<uint16_t>(
        [=](int64_t t) __attribute__((always_inline)) { return x + index[t] * c.channels; }, c.weight + c.starts[j],
        c.starts[j + 1] - c.starts[j], c.channels,
        [to](uint16_t v, int64_t i) __attribute__((always_inline)) {
          constexpr int kBits = 2 * kShift, kBelowHalf = (1 << (kBits - 1)) - 1;
          const auto odd = static_cast<uint16_t>((v >> kBits) & 1);  // half to even
          to[i] = static_cast<uint8_t>(static_cast<uint16_t>(v + kBelowHalf + odd) >> kBits);
        });
  }
}

void blend_pixels_fixed(const uint16_t* x, const ResizeFixedColumns& c, uint8_t* y) {
  if (c.shift == 1) return blend_pixels_fixed_by<1>(x, c, y);
  if (c.shift == 2) return blend_pixels_fixed_by<2>(x, c, y);
  if (c.shift == 3) return blend_pixels_fixed_by<3>(x, c, y);
  blend_pixels_fixed_by<4>(x, c, y);
}

constexpr ResizeTable kResizeLoops{{blend_rows<float>, blend_pixels<float>},
                                   {blend_rows<uint8_t>, blend_pixels<uint8_t>},
                                   {blend_rows_fixed, blend_pixels_fixed}};

}  // namespace
}  // namespace thimble::kernels
