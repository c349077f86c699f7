// What is done to each quantized integer by itself, or with its like. out may be an input. The same bits on every
// instruction set.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// out[i] = min(max(x[i], low), high)
void clamp(const uint8_t* x, int64_t n, uint8_t low, uint8_t high, uint8_t* out);

/// out[i] = table[x[i]], of 256.
void look_up(const uint8_t* x, int64_t n, const uint8_t* table, uint8_t* out);

/// The sum of two quantized arrays, quantized: out[i] = clamp(round_half_even((a[i] - a_zero_point) * a_scale + (b[i] -
/// b_zero_point) * b_scale) + zero_point, low, high), where the scales are already divided by the output's. A scale
/// below 0 subtracts.
struct QuantizedAddArgs {
  float a_scale = 1, b_scale = 1;
  int32_t a_zero_point = 0, b_zero_point = 0;
  int32_t zero_point = 0, low = 0, high = 255;
};
void quantized_add(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddArgs& args, uint8_t* out);

/// The larger or the smaller one of two quantized values in place of their sum.
void quantized_maximum(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddArgs& args, uint8_t* out);
void quantized_minimum(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddArgs& args, uint8_t* out);

/// The product: out[i] = clamp(round_half_even((a[i] - a_zero_point) * (b[i] - b_zero_point) * scale) + zero_point,
/// low, high), where scale is that of a times that of b, divided by the output's.
struct QuantizedMulArgs {
  float scale = 1;
  int32_t a_zero_point = 0, b_zero_point = 0;
  int32_t zero_point = 0, low = 0, high = 255;
};
void quantized_mul(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedMulArgs& args, uint8_t* out);

}  // namespace thimble::kernels
