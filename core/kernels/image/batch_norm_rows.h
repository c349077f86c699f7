// The inner loops of batch normalization, one table of them for each instruction set. Plain data only: sources that are
// compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// `rows` rows of `width` elements, dense. What is per channel is given for each of the width elements.
struct BatchNormTile {
  int64_t rows, width;
};

/// z = (x - mean) * scale + shift, and y = max(z, 0) with relu, else z.
template <typename T>
struct ChannelMap {
  const T *mean, *scale, *shift;
  bool relu = false;
};

template <typename T>
struct BatchNormRows {
  /// sums += the sum of each column.
  void (*add_sums)(const BatchNormTile& t, const T* x, T* sums);
  /// sums += the sum of (x - centers)^2.
  void (*add_squares)(const BatchNormTile& t, const T* x, const T* centers, T* sums);
  void (*map)(const BatchNormTile& t, const T* x, const ChannelMap<T>& m, T* y);
  /// With dz = dy, or with relu 0 where z <= 0: sums += the sum of dz, products += that of dz * (x - mean).
  void (*add_gradients)(const BatchNormTile& t, const T* x, const T* dy, const ChannelMap<T>& m, T* sums, T* products);
  /// dx = (dz - offset - (x - mean) * slope) * scale
  void (*input_gradient)(const BatchNormTile& t, const T* x, const T* dy, const ChannelMap<T>& m, const T* offset,
                         const T* slope, T* dx);
};

struct BatchNormTable {
  BatchNormRows<float> float32;
  BatchNormRows<double> float64;
};
extern const BatchNormTable batch_norm_scalar, batch_norm_avx2, batch_norm_avx512;

}  // namespace thimble::kernels
