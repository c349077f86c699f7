// How numbers of more bits become 16-bit floats with one rounding, by way of float32.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace thimble::detail {

/// The value if it is a float, else the one of the two floats around it whose last bit is set. Rounding that to 8 or 11
/// bits gives what rounding the value itself would give (Boldo and Melquiond 2008): the nearest float may be a tie of
/// theirs that the value is not.
inline float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  const double back = nearest;
  if (back == value) return nearest;
  auto bits = std::bit_cast<uint32_t>(nearest);
  if (std::abs(back) > std::abs(value)) --bits;  // toward zero
  return std::bit_cast<float>(bits | 1u);
}

template <std::integral T>
float round_to_odd(T value) {
  if constexpr (sizeof(T) == 8) {
    // Up to 11 bits more than a double has: those are replaced by one that says whether any was set.
    constexpr T kLow = 0x7ff, kExact = T{1} << 53;
    const bool is_exact = value <= kExact && (std::is_unsigned_v<T> || value >= T{0} - kExact);
    if (!is_exact && (value & kLow) != 0) value = static_cast<T>((value & ~kLow) | (kLow + 1));
  }
  return round_to_odd(static_cast<double>(value));
}

}  // namespace thimble::detail
