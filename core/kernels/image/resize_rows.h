// Loops of resampling, on one thread, for each instruction set. Plain data only, see int8_gemm_task.h.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// The columns of ResizeAxis. Of few channels there are also element by element the places and weights of its inputs;
/// where there is but one, the second weight is 0.
struct ResizeColumns {
  const int64_t *starts, *index;
  const float* weight;
  int64_t out, channels;
  const int32_t *first, *second;  ///< null for many channels
  const float *of_first, *of_second;
};

template <typename T>
struct ResizeLoops {
  /// out[i] = the sum of weights[t] * rows[t][i].
  void (*blend_rows)(const T* const* rows, const float* weights, int64_t taps, int64_t n, float* out);
  /// Pixels of a row, each the sum over the row x; rounded half to even to integers.
  void (*blend_pixels)(const float* x, const ResizeColumns& columns, T* y);
};

/// The columns, of weights that are multiples of 2^-shift.
struct ResizeFixedColumns {
  const int64_t *starts, *index;
  const uint16_t* weight;
  int64_t out, channels;
  int shift;  ///< 1 to 4: sums of sums fit 16 bits
};

/// The same sums of bytes in integers of 16 bits, which are exact, as floats are there.
struct ResizeFixedLoops {
  void (*blend_rows)(const uint8_t* const* rows, const uint16_t* weights, int64_t taps, int64_t n, uint16_t* out);
  void (*blend_pixels)(const uint16_t* x, const ResizeFixedColumns& columns, uint8_t* y);
};

struct ResizeTable {
  ResizeLoops<float> of_float;
  ResizeLoops<uint8_t> of_uint8;
  ResizeFixedLoops fixed;
};

extern const ResizeTable resize_scalar, resize_avx2, resize_avx512;

}  // namespace thimble::kernels
