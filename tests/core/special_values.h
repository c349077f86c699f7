// Values that are no numbers: double for ops, float for kernels.
#pragma once

#include <limits>

namespace thimble {

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

namespace kernels {
inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
}  // namespace kernels

}  // namespace thimble
