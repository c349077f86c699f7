// The loops of quantize() and dequantize(), which the compiler vectorizes for the instruction set of each file that
// includes them. In an anonymous namespace, so that each has its own copy.
#pragma once

#include <thimble/core/kernels/int8/quantize_kernels.h>

namespace thimble::kernels {
namespace {

// Adding 1.5 * 2^23 rounds a magnitude below 2^22 (it is clamped) half to even, to an integer that the sum's lowest
// bits hold: as an int32, the sum is that integer plus a multiple of 2^22.
constexpr float kRound = 12582912.0f;

[[gnu::always_inline]] inline int32_t bits_of(float v) { return __builtin_bit_cast(int32_t, v); }

template <typename Q>
[[gnu::always_inline]] inline Q to_integer(float clamped_value, int32_t zero_point) {
  return static_cast<Q>(bits_of(clamped_value + kRound) + zero_point);
}

// Written so that NaN becomes low.
[[gnu::always_inline]] inline float clamped(float v, float low, float high) {
  const float above = v > low ? v : low;
  return above < high ? above : high;
}

template <typename Q>
[[gnu::always_inline]] inline void quantize_by_division(const float* __restrict x, int64_t n,
                                                        const QuantizeConstants& c, Q* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_integer<Q>(clamped(x[i] / c.scale, c.low, c.high), c.zero_point);
}

// Multiplies by the reciprocal, which is several times faster. The product differs from the quotient by at most 1.5
// units in the last place, 1.5 * 2^-15 for the magnitudes up to 256 that survive the clamp, so both round to the same
// integer unless the product is that close to the middle between two. Returns whether one of the n products was.
template <typename Q>
[[gnu::always_inline]] inline bool quantize_by_reciprocal(const float* __restrict x, int n, float reciprocal,
                                                          const QuantizeConstants& c, Q* __restrict out) {
  constexpr float kSafe = 0.5f - 0x1p-14f;
  int32_t worst = 0;  // magnitudes of floats are ordered as their bits are
  for (int i = 0; i < n; ++i) {
    const float v = clamped(x[i] * reciprocal, c.low, c.high);
    const int32_t distance = bits_of(v - ((v + kRound) - kRound)) & 0x7fffffff;
    worst = distance > worst ? distance : worst;
    out[i] = to_integer<Q>(v, c.zero_point);
  }
  return worst > bits_of(kSafe);
}

template <typename Q>
void quantize_loop(const float* __restrict x, int64_t n, const QuantizeConstants& constants, Q* __restrict out) {
  constexpr int kBlock = 128;
  const QuantizeConstants c = constants;
  const float reciprocal = 1 / c.scale;
  // A subnormal scale or reciprocal has fewer digits than the bound above assumes.
  const bool precise = c.scale >= 0x1p-126f && reciprocal >= 0x1p-126f;
  int64_t i = 0;
  for (; precise && i + kBlock <= n; i += kBlock) {
    if (quantize_by_reciprocal(x + i, kBlock, reciprocal, c, out + i)) quantize_by_division(x + i, kBlock, c, out + i);
  }
  quantize_by_division(x + i, n - i, c, out + i);
}

// Elements of a plane that are quantized before they meet those of others, in the first level cache.
constexpr int64_t kPlaneBlock = 1024;

template <int kChannels>
[[gnu::always_inline]] inline void interleave(const uint8_t (*planes)[kPlaneBlock], int64_t n,
                                              uint8_t* __restrict out) {
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < kChannels; ++c) out[i * kChannels + c] = planes[c][i];
}

void quantize_planes_loop(const float* __restrict x, int64_t plane, int64_t channels, int64_t n,
                          const QuantizeConstants& constants, uint8_t* __restrict out) {
  alignas(64) uint8_t planes[kMostQuantizedPlanes][kPlaneBlock];
  for (int64_t i = 0; i < n; i += kPlaneBlock) {
    const int64_t count = n - i < kPlaneBlock ? n - i : kPlaneBlock;
    for (int64_t c = 0; c < channels; ++c) quantize_loop(x + c * plane + i, count, constants, planes[c]);
    if (channels == 2) interleave<2>(planes, count, out + i * 2);
    if (channels == 3) interleave<3>(planes, count, out + i * 3);
    if (channels == 4) interleave<4>(planes, count, out + i * 4);
  }
}

template <typename Q>
void dequantize_loop(const Q* __restrict q, int64_t n, float scale, int32_t zero_point, float* __restrict out) {
  // Unsigned, so that a difference that does not fit wraps around on every instruction set.
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t difference = static_cast<uint32_t>(q[i]) - static_cast<uint32_t>(zero_point);
    out[i] = scale * static_cast<float>(static_cast<int32_t>(difference));
  }
}

double squared_steps_error_loop(const float* __restrict x, int64_t n, const QuantizeConstants& constants) {
  constexpr int kLanes = 16;    // enough for the registers of any instruction set, and the same for all
  constexpr int kBlock = 1024;  // elements of which a float32 sum loses little
  const QuantizeConstants c = constants;
  const auto squared_error = [&c](float value) __attribute__((always_inline)) {
    const float steps = value / c.scale;
    const float error = steps - ((clamped(steps, c.low, c.high) + kRound) - kRound);
    return error * error;
  };
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = n - begin < kBlock ? n : begin + kBlock;
    float sums[kLanes] = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (int lane = 0; lane < kLanes; ++lane) sums[lane] += squared_error(x[i + lane]);
    for (; i < end; ++i) sums[0] += squared_error(x[i]);
    for (const float sum : sums) total += double{sum};
  }
  return total;
}

constexpr QuantizeKernels kQuantizeKernels{
    .to_uint8 = quantize_loop<uint8_t>,
    .to_int8 = quantize_loop<int8_t>,
    .from_uint8 = dequantize_loop<uint8_t>,
    .from_int8 = dequantize_loop<int8_t>,
    .from_int32 = dequantize_loop<int32_t>,
    .planes_to_uint8 = quantize_planes_loop,
    .squared_steps_error = squared_steps_error_loop,
};

}  // namespace
}  // namespace thimble::kernels
