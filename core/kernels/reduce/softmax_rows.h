// The inner loops of softmax, one table of them for each instruction set. Plain data only: sources that are compiled
// for a newer CPU include this.
#pragma once

#include <thimble/core/kernels/reduce/softmax.h>

namespace thimble::kernels {

/// Functions of one dense row of n elements.
template <typename T>
struct SoftmaxRows {
  void (*softmax)(const T* x, int64_t n, T* out);
  SoftmaxStatistics<T> (*statistics)(const T* x, int64_t n);
  /// out = x - max - log_sum
  void (*log_softmax)(const T* x, int64_t n, T max, T log_sum, T* out);
  /// out = (softmax(x) - everywhere) * scale
  void (*gradient)(const T* x, int64_t n, SoftmaxStatistics<T> statistics, T everywhere, T scale, T* out);
};

extern const SoftmaxRows<float> softmax_scalar, softmax_avx2, softmax_avx512;

}  // namespace thimble::kernels
