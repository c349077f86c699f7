// What min_max() calls on one thread, for each instruction set. Plain data only, see int8_gemm_task.h.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Both widen the ranges they are given and return whether no value is NaN.
struct MinMaxRows {
  /// *min and *max by x[0], ..., x[n - 1].
  bool (*row)(const float* x, int64_t n, float* min, float* max);
  /// min[j] and max[j] for each of n columns of `rows` rows that begin `stride` elements apart.
  bool (*columns)(const float* x, int64_t rows, int64_t stride, int64_t n, float* min, float* max);
};

extern const MinMaxRows min_max_scalar, min_max_avx2, min_max_avx512;

}  // namespace thimble::kernels
