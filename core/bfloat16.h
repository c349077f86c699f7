// bfloat16: the upper half of a float32; a storage type, computed in float32.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include <thimble/core/api.h>
#include <thimble/core/round_to_odd.h>

namespace thimble {

/// A sign, 8 bits of exponent, 7 of fraction.
struct THIMBLE_API bfloat16 {
  uint16_t bits = 0;

  bfloat16() = default;

  /// Rounds half to even; a NaN stays a (quiet) NaN.
  explicit bfloat16(float value) {
    const auto b = std::bit_cast<uint32_t>(value);
    const bool nan = (b & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<uint16_t>(nan ? (b >> 16) | 0x40u : (b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
  }
  /// Rounds once.
  template <typename T>
  requires std::is_arithmetic_v<T>
  explicit bfloat16(T value) : bfloat16(detail::round_to_odd(value)) {}

  explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  template <typename T>
  explicit operator T() const {
    return static_cast<T>(static_cast<float>(*this));
  }

  friend bool operator==(bfloat16 a, bfloat16 b) { return static_cast<float>(a) == static_cast<float>(b); }
};

}  // namespace thimble
