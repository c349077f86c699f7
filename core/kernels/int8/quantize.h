// Conversion between float32 and quantized integers, per tensor: q = clamp(round(x / scale) + zero_point, low, high)
// and x' = scale * (q - zero_point).
#pragma once

#include <cstdint>

namespace thimble::kernels {

struct QuantizeArgs {
  float scale = 1;
  int32_t zero_point = 0;
  int32_t low = 0;  // smallest and largest result; for fewer than 8 bits, or a ReLU, less than the type's range
  int32_t high = 255;
};

/// out[i] = clamp(round_half_even(x[i] / scale) + zero_point, low, high), with a true division. NaN gives low;
/// infinities clamp. Every instruction set and thread count gives the same results. low, high and zero_point must be
/// values of the output type; scale must be positive. Arguments are not checked.
void quantize(const float* x, int64_t n, const QuantizeArgs& args, uint8_t* out);
void quantize(const float* x, int64_t n, const QuantizeArgs& args, int8_t* out);

/// The same of images [images, channels, pixels], which become [images, pixels, channels].
void quantize_to_channels_last(const float* x, int64_t images, int64_t channels, int64_t pixels,
                               const QuantizeArgs& args, uint8_t* out);
/// Whether it is faster than quantizing and then moving integers: images of few channels.
bool can_quantize_to_channels_last(int64_t channels);

/// out[i] = scale * float(q[i] - zero_point). The difference must fit int32.
void dequantize(const uint8_t* q, int64_t n, float scale, int32_t zero_point, float* out);
void dequantize(const int8_t* q, int64_t n, float scale, int32_t zero_point, float* out);
void dequantize(const int32_t* q, int64_t n, float scale, int32_t zero_point, float* out);

/// The sum of ((x[i] - x'[i]) / scale)^2, where x' is x quantized and dequantized: in steps, so that no scale makes it
/// overflow. x must be finite. The same bits on every instruction set and thread count.
double squared_steps_error(const float* x, int64_t n, const QuantizeArgs& args);

}  // namespace thimble::kernels
