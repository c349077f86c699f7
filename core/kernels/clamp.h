// Bounds of quantized integers.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// out[i] = min(max(x[i], low), high); out may be x.
void clamp(const uint8_t* x, int64_t n, uint8_t low, uint8_t high, uint8_t* out);

}  // namespace thimble::kernels
