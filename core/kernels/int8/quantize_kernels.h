// What quantize() and dequantize() call on one thread, for each instruction set. Plain data only, see int8_gemm_task.h.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// low and high are what x / scale is clamped to, before the zero point is added.
struct QuantizeConstants {
  float scale, low, high;
  int32_t zero_point;
};

/// Images have at most so many channels where their planes are quantized to pixels.
constexpr int64_t kMostQuantizedPlanes = 4;

struct QuantizeKernels {
  void (*to_uint8)(const float* x, int64_t n, const QuantizeConstants& c, uint8_t* out);
  void (*to_int8)(const float* x, int64_t n, const QuantizeConstants& c, int8_t* out);
  void (*from_uint8)(const uint8_t* q, int64_t n, float scale, int32_t zero_point, float* out);
  void (*from_int8)(const int8_t* q, int64_t n, float scale, int32_t zero_point, float* out);
  void (*from_int32)(const int32_t* q, int64_t n, float scale, int32_t zero_point, float* out);
  /// Elements of planes that begin so many elements apart, as pixels of 2 to kMostQuantizedPlanes channels:
  /// out[i * channels + c] is made of x[c * plane + i], i < n.
  void (*planes_to_uint8)(const float* x, int64_t plane, int64_t channels, int64_t n, const QuantizeConstants& c,
                          uint8_t* out);
  double (*squared_steps_error)(const float* x, int64_t n, const QuantizeConstants& c);
};

extern const QuantizeKernels quantize_scalar, quantize_avx2, quantize_avx512;

}  // namespace thimble::kernels
