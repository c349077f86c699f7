// Products of two matrices of uint8, neither of which is known before it runs: attention's.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// out[m, n] = clamp(round_half_even(float(sum over k of (a - a_zero_point) * (b - b_zero_point)) * multiplier) +
/// zero_point, 0, high). Element (i, j) of an operand lies at i * row + j * column.
struct Int8Matmul {
  /// The longest sum that cannot leave int32: 33025 * 255 * 255 < 2^31. Longer ones take several times as long each,
  /// and about 1 MiB of scratch memory.
  static constexpr int64_t kMostInInt32 = 33025;

  int64_t m = 0, n = 0, k = 0;
  const uint8_t* a = nullptr;
  int64_t a_row = 0, a_column = 1;
  const uint8_t* b = nullptr;
  int64_t b_row = 0, b_column = 1;
  int32_t a_zero_point = 0, b_zero_point = 0;
  float multiplier = 1;
  int32_t zero_point = 0, high = 255;
  uint8_t* out = nullptr;
  int64_t out_row = 0;  ///< columns are dense
};

/// On the calling thread, in its scratch memory. Sums are exact, and every instruction set and split of m gives the
/// same bits. Fastest where the rows of a, and the rows or columns of b, are dense. Arguments are not checked.
void int8_matmul(const Int8Matmul& product);

}  // namespace thimble::kernels
