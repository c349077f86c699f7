// Matrices of uint8 as the panels of PackedInt8Weights: 128 less, as int8. For operands that change from call to call.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/int8/int8_gemm.h>

namespace thimble::kernels {

/// Where panels of n columns and k rows lie.
struct Int8Panels {
  int64_t n, k;

  int64_t count() const { return (n + PackedInt8Weights::kPanel - 1) / PackedInt8Weights::kPanel; }
  int64_t stride() const { return (k + 3) / 4 * 64; }
  /// With what kernels read behind the last one.
  int64_t bytes() const { return count() * stride() + PackedInt8Weights::kSlack; }
};

/// Packs b [k, n], whose element (i, j) lies at i * row + j * column. Padding has any values: activations are padded
/// with zeros. panels is 64-byte aligned.
void pack_int8_panels(const uint8_t* b, int64_t row, int64_t column, const Int8Panels& size, int8_t* panels);

}  // namespace thimble::kernels
