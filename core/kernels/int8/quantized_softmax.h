// softmax of quantized integers.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// What rows of softmax are made with. Where q is d below the largest of its row, its term is the integer
/// round_half_even(high[d / 16] * low[d % 16]), about 2^22 * exp(-d * scale): rounded floats make it, which are the
/// same everywhere, and sums of integers are exact.
struct QuantizedSoftmaxTable {
  /// exp(0)'s term: floats hold all of them.
  static constexpr float kOne = 1 << 22;

  QuantizedSoftmaxTable(float scale, float output_scale, int32_t output_zero_point, int32_t output_high);

  float high[16], low[16];
  int32_t term[256];
  double output_scale;
  int32_t zero_point;
  float least, most;  ///< what results are clamped to, before the zero point is added
};

/// Of dense rows: out = clamp(round_half_even(float(term) * float(1 / (sum of the row's terms * output_scale))) +
/// zero_point, 0, high). Every instruction set and thread count gives the same bits. out may be x.
void quantized_softmax(const uint8_t* x, int64_t rows, int64_t n, const QuantizedSoftmaxTable& table, uint8_t* out);

}  // namespace thimble::kernels
