// The loops of quantized_group_norm(), which the compiler vectorizes for the instruction set of each file that includes
// them. In an anonymous namespace, so that each has its own copy.
#pragma once

#include <thimble/core/kernels/int8/quantize_loops.h>
#include <thimble/core/kernels/int8/quantized_group_norm_rows.h>

namespace thimble::kernels {
namespace {

void sums_of_pixels(const uint8_t* x, int64_t pixels, int64_t step, int64_t channels, uint64_t* sums,
                    uint64_t* squares) {
  constexpr int64_t kBlock = 64, kMostPixels = 65536;  // of which sums of squares fit 32 bits
  for (int64_t c = 0; c < channels; ++c) sums[c] = squares[c] = 0;
  for (int64_t first = 0; first < channels; first += kBlock) {
    const int64_t count = channels - first < kBlock ? channels - first : kBlock;
    for (int64_t begin = 0; begin < pixels; begin += kMostPixels) {
      const int64_t end = pixels - begin < kMostPixels ? pixels : begin + kMostPixels;
      uint32_t values[kBlock]{}, of_squares[kBlock]{};
      for (int64_t i = begin; i < end; ++i) {
        const uint8_t* __restrict pixel = x + i * step + first;
        for (int64_t c = 0; c < count; ++c) {
          const uint32_t v = pixel[c];
          values[c] += v;
          of_squares[c] += v * v;
        }
      }
      for (int64_t c = 0; c < count; ++c) {
        sums[first + c] += values[c];
        squares[first + c] += of_squares[c];
      }
    }
  }
}

void affine_of_pixels(const uint8_t* __restrict x, int64_t n, const PeriodicAffine& affine, uint8_t* __restrict out) {
  const PeriodicAffine p = affine;
  const float* __restrict m = p.m, * __restrict a = p.a, * __restrict b = p.b;
  for (int64_t begin = 0; begin < n; begin += p.period) {
    const int64_t count = n - begin < p.period ? n - begin : p.period;
    for (int64_t i = 0; i < count; ++i) {
      const float v = (static_cast<float>(x[begin + i]) - m[i]) * a[i] + b[i];
      out[begin + i] = to_integer<uint8_t>(clamped(v, p.least, p.most), p.zero_point);
    }
  }
}

constexpr QuantizedGroupNormRows kQuantizedGroupNormRows{sums_of_pixels, affine_of_pixels};

}  // namespace
}  // namespace thimble::kernels
