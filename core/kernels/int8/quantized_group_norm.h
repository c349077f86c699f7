// Group normalization of quantized integers.
#pragma once

#include <cstdint>

namespace thimble::kernels {

struct QuantizedGroupNormArgs {
  float scale = 1;  ///< of x, whose zero point does not matter
  double eps = 0;
  int64_t groups = 1;
  const double* weight = nullptr;  ///< [channels], divided by the output's scale
  const double* bias = nullptr;    ///< [channels], likewise
  int32_t zero_point = 0, high = 255;
};

/// Of n samples that lie as [pixels, channels]. With sums over the integers of a group, which are exact,
///   mean = sum q / count, variance = sum q^2 / count - mean^2, r = scale / sqrt(variance * scale^2 + eps)
/// in double; then, for each channel, out = clamp(round_half_even((q - m) * a + b) + zero_point, 0, high) with the
/// integer m next to the mean, and a = r * weight and b = bias - (mean - m) * a as finite floats (the largest ones
/// stand for what is beyond), and each operation rounded to float: equal integers are the bias, whatever eps. Every
/// instruction set and thread count gives the same bits. out is not x; there is at least one pixel. Arguments are not
/// checked.
void quantized_group_norm(const uint8_t* x, int64_t n, int64_t pixels, int64_t channels,
                          const QuantizedGroupNormArgs& args, uint8_t* out);

}  // namespace thimble::kernels
