// The loops of quantize() and dequantize(), which the compiler vectorizes for the instruction set of each file that
// includes them. In an anonymous namespace, so that each has its own copy.
#pragma once

#include <thimble/core/kernels/quantize_kernels.h>

namespace thimble::kernels {
namespace {

// Adding and subtracting 1.5 * 2^23 rounds half to even, as long as the magnitude is below 2^22: it is clamped.
[[gnu::always_inline]] inline float rounded(float v) {
  constexpr float kRound = 12582912.0f;
  return (v + kRound) - kRound;
}

// Written so that NaN becomes low.
[[gnu::always_inline]] inline float clamped(float v, float low, float high) {
  const float above = v > low ? v : low;
  return above < high ? above : high;
}

template <typename Q>
void quantize_loop(const float* __restrict x, int64_t n, const QuantizeConstants& constants, Q* __restrict out) {
  const QuantizeConstants c = constants;
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<Q>(static_cast<int32_t>(rounded(clamped(x[i] / c.scale, c.low, c.high))) + c.zero_point);
}

template <typename Q>
void dequantize_loop(const Q* __restrict q, int64_t n, float scale, int32_t zero_point, float* __restrict out) {
  // Unsigned, so that a difference that does not fit wraps around on every instruction set.
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t difference = static_cast<uint32_t>(q[i]) - static_cast<uint32_t>(zero_point);
    out[i] = scale * static_cast<float>(static_cast<int32_t>(difference));
  }
}

constexpr QuantizeKernels kQuantizeKernels{quantize_loop<uint8_t>, quantize_loop<int8_t>, dequantize_loop<uint8_t>,
                                           dequantize_loop<int8_t>, dequantize_loop<int32_t>};

}  // namespace
}  // namespace thimble::kernels
