// Sizes in units. For sources of the baseline: an instruction set's must not share a copy.
#pragma once

#include <algorithm>
#include <cstdint>

namespace thimble::kernels {

/// a / b, rounded up; a >= 0, b > 0.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The least multiple of b that is at least a.
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/// Calls f(begin, size) for parts of [0, n) of nearly equal size, at most `most` and, but for the last, multiples of
/// `unit`.
template <typename F>
void for_equal_parts(int64_t n, int64_t most, int64_t unit, F&& f) {
  if (n == 0) return;
  const int64_t size = round_up(ceil_div(n, ceil_div(n, most)), unit);
  for (int64_t begin = 0; begin < n; begin += size) f(begin, std::min(size, n - begin));
}

}  // namespace thimble::kernels
