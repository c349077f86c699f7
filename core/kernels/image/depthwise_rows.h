// The inner loops of depthwise convolutions, one table of them for each instruction set. Plain data only: sources that
// are compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Pixels side by side in a row that see the same taps, `rows` x `columns` of them, none in the padding. Distances, in
/// elements, lead to the next pixel, row of taps and tap.
template <typename T>
struct DepthwiseRun {
  int64_t channels, pixels, rows, columns;
  const T* x;  ///< the first pixel's first tap
  int64_t x_pixel, x_row, x_column;
};

template <typename T>
struct DepthwiseForward {
  DepthwiseRun<T> run;
  const T* weight;
  int64_t weight_row, weight_column;
  T* y;
  int64_t y_pixel;
  const T *bias, *addend;  ///< as an Epilogue's
  bool clamps;
  T lower, upper;
};

template <typename T>
struct DepthwiseWeightGradient {
  DepthwiseRun<T> run;
  const T* dy;
  int64_t dy_pixel;
  T* sums;  ///< the pixels' products are added to these
  int64_t sums_row, sums_column;
};

template <typename T>
struct DepthwiseRows {
  void (*forward)(const DepthwiseForward<T>&);
  void (*weight_gradient)(const DepthwiseWeightGradient<T>&);
};

struct DepthwiseTable {
  DepthwiseRows<float> float32;
  DepthwiseRows<double> float64;
};
extern const DepthwiseTable depthwise_scalar, depthwise_avx2, depthwise_avx512;

}  // namespace thimble::kernels
