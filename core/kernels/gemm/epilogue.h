// What becomes of a float product's sums before they are stored.
#pragma once

#include <cstdint>
#include <limits>

namespace thimble::kernels {

/// y = clamp(sum + bias + addend, lower, upper). NaN stays NaN.
template <typename T>
struct Epilogue {
  const T* bias = nullptr;    ///< [n], one for each column or channel
  const T* addend = nullptr;  ///< lies as y does, in other memory
  static constexpr T kInfinity = std::numeric_limits<T>::infinity();

  T lower = -kInfinity;
  T upper = kInfinity;

  // Inline in every instruction set's kernels, none of which must share a copy.
  [[gnu::always_inline]] bool clamps() const { return lower > -kInfinity || upper < kInfinity; }

  /// That of the columns from `column` on, for outputs that begin `offset` elements from y.
  [[gnu::always_inline]] Epilogue at(int64_t column, int64_t offset) const {
    return {bias ? bias + column : nullptr, addend ? addend + offset : nullptr, lower, upper};
  }
};

/// The epilogue that adds a bias, which may be null, and sets what is below 0 to 0 if asked to.
template <typename T>
Epilogue<T> bias_epilogue(const T* bias, bool relu = false) {
  return {.bias = bias, .lower = relu ? T{0} : -std::numeric_limits<T>::infinity()};
}

}  // namespace thimble::kernels
