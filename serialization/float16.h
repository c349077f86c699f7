// IEEE 754 half precision, as other programs' files hold it. Thimble computes in float32 and stores bfloat16.
#pragma once

#include <bit>
#include <cstdint>

namespace thimble {

/// The value of the half-precision number with these bits, exactly.
inline float float16_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1fu, mantissa = bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

}  // namespace thimble
