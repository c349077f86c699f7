// float16: IEEE 754 half precision; a storage type, computed in float32.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include <thimble/core/api.h>
#include <thimble/core/round_to_odd.h>

namespace thimble {

/// A sign, 5 bits of exponent, 10 of fraction.
struct THIMBLE_API float16 {
  uint16_t bits = 0;

  float16() = default;

  /// Rounds half to even, to infinity from 65520 on; a NaN stays a (quiet) NaN.
  explicit float16(float value) {
    const auto b = std::bit_cast<uint32_t>(value);
    bits = static_cast<uint16_t>(((b >> 16) & 0x8000u) | rounded(b & 0x7fffffffu));
  }
  /// Rounds once.
  template <typename T>
  requires std::is_arithmetic_v<T>
  explicit float16(T value) : float16(detail::round_to_odd(value)) {}

  /// Exact.
  explicit operator float() const {
    const uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1fu, mantissa = bits & 0x3ffu;
    if (exponent == 0) {
      const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
      return sign ? -magnitude : magnitude;
    }
    const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + kBiasDifference;
    return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
  }
  template <typename T>
  explicit operator T() const {
    return static_cast<T>(static_cast<float>(*this));
  }

  friend bool operator==(float16 a, float16 b) { return static_cast<float>(a) == static_cast<float>(b); }

 private:
  static constexpr uint32_t kBiasDifference = 127 - 15;

  // From the bits of a float that is not negative.
  static uint32_t rounded(uint32_t b) {
    constexpr uint32_t kInfinity = 0x7f800000, kOverflow = 0x477ff000 /* 65520 */, kNormal = 0x38800000 /* 2^-14 */;
    if (b > kInfinity) return 0x7e00u | ((b >> 13) & 0x3ffu);
    if (b >= kOverflow) return 0x7c00u;
    if (b >= kNormal) return (b - (kBiasDifference << 23) + 0xfffu + ((b >> 13) & 1u)) >> 13;
    // Multiples of 2^-24, the last bit of 0.5: the addition rounds.
    return std::bit_cast<uint32_t>(std::bit_cast<float>(b) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  }
};

}  // namespace thimble
