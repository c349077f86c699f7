// Layer normalization of quantized integers.
#pragma once

#include <cstdint>

namespace thimble::kernels {

struct QuantizedLayerNormArgs {
  /// The longest row whose sums of squares, times its length, a double holds: 2^18 * 2^18 * 255^2 < 2^53.
  static constexpr int64_t kMaxN = int64_t{1} << 18;

  float scale = 1;  ///< of x, whose zero point does not matter
  double eps = 0;
  const float* weight = nullptr;  ///< [n], divided by the output's scale
  const float* bias = nullptr;    ///< [n], likewise
  int32_t zero_point = 0, high = 255;
};

/// Of dense rows of n elements. With sums over a row of integers, which are exact,
///   mean = sum q / n, variance = (n * sum q^2 - (sum q)^2) / n^2, r = scale / sqrt(variance * scale^2 + eps)
/// in double; then out = clamp(round_half_even((q * r - mean * r) * weight + bias) + zero_point, 0, high) with r as a
/// float, mean * r, of that r, as one, and each operation rounded to float. Every instruction set and thread count
/// gives the same bits. out is not x. Arguments are not checked; n is at most kMaxN.
void quantized_layer_norm(const uint8_t* x, int64_t rows, int64_t n, const QuantizedLayerNormArgs& args, uint8_t* out);

}  // namespace thimble::kernels
