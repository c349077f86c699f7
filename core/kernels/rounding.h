// Sizes in units. For sources of the baseline: an instruction set's must not share a copy.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// a / b, rounded up; a >= 0, b > 0.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The least multiple of b that is at least a.
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace thimble::kernels
