// The inner loops of normalization, one table of them for each instruction set. Plain data only: sources that are
// compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Functions of one dense row of n elements.
template <typename T>
struct NormalizeRows {
  T (*sum)(const T* x, int64_t n);
  T (*squared_deviations)(const T* x, int64_t n, T center);
  /// The sum of a * b.
  T (*products)(const T* a, const T* b, int64_t n);
  /// y = (x - center) * scale
  void (*map)(const T* x, int64_t n, T center, T scale, T* y);
  /// y = (x - center) * scale * weight + bias
  void (*affine_map)(const T* x, int64_t n, T center, T scale, const T* weight, const T* bias, T* y);
  /// dx = (dy - offset - y * along) * scale
  void (*gradient)(const T* y, const T* dy, int64_t n, T offset, T along, T scale, T* dx);
};

extern const NormalizeRows<float> normalize_scalar, normalize_avx2, normalize_avx512;

}  // namespace thimble::kernels
