// What quantized_layer_norm() calls for a row, for each instruction set. Plain data only, see int8_gemm_task.h.
#pragma once

#include <cstdint>

namespace thimble::kernels {

struct SumsOfRow {
  uint64_t values, squares;
};

/// out = to_integer(clamped((x * factor + offset) * weight + bias, least, most), zero_point)
struct QuantizedAffine {
  float factor, offset;
  const float *weight, *bias;
  float least, most;
  int32_t zero_point;
};

struct QuantizedLayerNormRows {
  SumsOfRow (*sums)(const uint8_t* x, int64_t n);
  void (*results)(const uint8_t* x, int64_t n, const QuantizedAffine& affine, uint8_t* out);
};

extern const QuantizedLayerNormRows quantized_layer_norm_scalar, quantized_layer_norm_avx2, quantized_layer_norm_avx512;

}  // namespace thimble::kernels
