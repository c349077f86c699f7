// What quantized_group_norm() calls for pixels, for each instruction set. Plain data only, see int8_gemm_task.h.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// out[i] = to_integer(clamped((x[i] - m[j]) * a[j] + b[j], least, most), zero_point), j = i % period
struct PeriodicAffine {
  const float *m, *a, *b;
  int64_t period;
  float least, most;
  int32_t zero_point;
};

struct QuantizedGroupNormRows {
  /// sums[c] and squares[c] of rows of so many pixels, each `step` elements from the last.
  void (*sums)(const uint8_t* x, int64_t pixels, int64_t step, int64_t channels, uint64_t* sums, uint64_t* squares);
  void (*results)(const uint8_t* x, int64_t n, const PeriodicAffine& affine, uint8_t* out);
};

extern const QuantizedGroupNormRows quantized_group_norm_scalar, quantized_group_norm_avx2, quantized_group_norm_avx512;

}  // namespace thimble::kernels
