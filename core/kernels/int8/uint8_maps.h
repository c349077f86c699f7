// What is done to each quantized integer by itself. out may be x.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// out[i] = min(max(x[i], low), high)
void clamp(const uint8_t* x, int64_t n, uint8_t low, uint8_t high, uint8_t* out);

/// out[i] = table[x[i]], of 256.
void look_up(const uint8_t* x, int64_t n, const uint8_t* table, uint8_t* out);

}  // namespace thimble::kernels
