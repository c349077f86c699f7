// Means of quantized integers.
#pragma once

#include <cstdint>

namespace thimble::kernels {

struct QuantizedMeanArgs {
  float scale = 1;  ///< of x
  int32_t x_zero_point = 0;
  float output_scale = 1;
  int32_t zero_point = 0, high = 255;
};

/// x [outer, n, inner] -> out [outer, inner]: clamp(round_half_even(float(sum of (x - x_zero_point)) * float(scale /
/// (output_scale * n))) + zero_point, 0, high). Sums are exact; every instruction set and thread count gives the same
/// bits. Arguments are not checked; n is at least 1.
void quantized_mean(const uint8_t* x, int64_t outer, int64_t n, int64_t inner, const QuantizedMeanArgs& args,
                    uint8_t* out);

}  // namespace thimble::kernels
