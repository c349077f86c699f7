// Sizes as indices of standard containers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thimble::kernels {

inline size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace thimble::kernels
