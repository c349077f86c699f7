// Rows of bfloat16, as their bits, from and to float32: one table for each instruction set. Plain data only: sources
// that are compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

struct Bf16Rows {
  /// Exact.
  void (*widen)(const uint16_t* x, int64_t n, float* out);
  /// To nearest, ties to even, as bfloat16's constructor; a NaN stays one.
  void (*round)(const float* x, int64_t n, uint16_t* out);
};

extern const Bf16Rows bf16_rows_scalar, bf16_rows_avx2, bf16_rows_avx512;

/// Those of the level in use.
const Bf16Rows& bf16_rows();

}  // namespace thimble::kernels
