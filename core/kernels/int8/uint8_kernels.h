// What is done to integers between products, on one thread, for each instruction set. Plain data only, see
// int8_gemm_task.h.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Pixels of one window, each with its channels, row by row.
struct Uint8Window {
  const uint8_t* first;
  int64_t rows, columns;
  int64_t row_step, column_step;  ///< elements

  int64_t pixels() const { return rows * columns; }
};

/// An addition's: v = (a - a_zero_point) * a_scale + (b - b_zero_point) * b_scale, in units of the output. Or one of
/// the two is taken in place of their sum.
struct QuantizedAddConstants {
  float a_scale, b_scale;
  int32_t a_zero_point, b_zero_point;
  float low, high;  ///< what v is clamped to, before the zero point is added
  int32_t zero_point;
};

/// A multiplication's: v = (a - a_zero_point) * (b - b_zero_point) * scale, in units of the output.
struct QuantizedMulConstants {
  float scale;
  int32_t a_zero_point, b_zero_point;
  float low, high;  ///< what v is clamped to, before the zero point is added
  int32_t zero_point;
};

/// Outputs of n elements may lie where an input does.
struct Uint8Kernels {
  void (*look_up)(const uint8_t* x, int64_t n, const uint8_t* table, uint8_t* out);
  void (*clamp)(const uint8_t* x, int64_t n, uint8_t low, uint8_t high, uint8_t* out);
  void (*add)(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out);
  void (*maximum)(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out);
  void (*minimum)(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out);
  void (*mul)(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedMulConstants& c, uint8_t* out);
  /// sums[c] = the sum of the window's pixels, modulo 2^32.
  void (*sum_pixels)(const Uint8Window& window, int64_t channels, uint32_t* sums);
  /// out[c] = their mean, rounded half to even. Of at most kMostMeanPixels pixels, and at least one.
  void (*mean_pixels)(const Uint8Window& window, int64_t channels, uint8_t* out);
};

/// Sums of so many bytes are exact as float32, and no quotient is rounded to the middle between two integers.
constexpr int64_t kMostMeanPixels = 8192;

extern const Uint8Kernels uint8_scalar, uint8_avx2, uint8_avx512;

/// Those of the level in use.
const Uint8Kernels& uint8_kernels();

}  // namespace thimble::kernels
