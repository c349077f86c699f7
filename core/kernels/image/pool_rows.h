// The inner loops of pooling, one table of them for each instruction set. Plain data only: sources that are compiled
// for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Windows side by side in one row of outputs that see the same taps (pixels of the kernel). Offsets are in elements.
struct PoolRun {
  int64_t windows, channels;
  int64_t in_first;  ///< where the first window starts in x; that may be in the padding, but none of the taps is
  int64_t in_step;   ///< from a window to the next
  int64_t out_first;
  int64_t taps;
  const int64_t* offsets;  ///< of the taps from the window's start
  const int32_t* numbers;  ///< of the taps in the kernel, rising
};

template <typename T, typename Index>
struct MaxPoolRows {
  /// y and, unless null, which tap won.
  void (*forward)(const PoolRun& run, const T* x, T* y, Index* winners);
  /// Adds dy to dx where it came from.
  void (*add_backward)(const PoolRun& run, const T* dy, const Index* winners, T* dx);
  /// The same where no other window sees these taps: sets dx, to 0 where it did not win.
  void (*set_backward)(const PoolRun& run, const T* dy, const Index* winners, T* dx);
};

/// A window of rows x columns pixels, its rows `row_step` elements apart.
struct PoolWindow {
  int64_t rows, columns, row_step, channels;
};

template <typename T>
struct AveragePoolRows {
  /// y = scale * the sum over the window at x, for each channel.
  void (*forward)(const PoolWindow& window, const T* x, T scale, T* y);
  /// dx += scale * dy for each pixel of the window at dx.
  void (*backward)(const PoolWindow& window, const T* dy, T scale, T* dx);
};

struct PoolTable {
  MaxPoolRows<float, uint8_t> max32;
  MaxPoolRows<double, uint8_t> max64;
  MaxPoolRows<float, int32_t> max32_large;  // kernels of more than 256 taps
  MaxPoolRows<double, int32_t> max64_large;
  AveragePoolRows<float> average32;
  AveragePoolRows<double> average64;
  /// Of quantized images.
  void (*max8)(const PoolRun& run, const uint8_t* x, uint8_t* y);
};
extern const PoolTable pool_scalar, pool_avx2, pool_avx512;

}  // namespace thimble::kernels
