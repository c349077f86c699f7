// What quantized_rows.h does with a part of one row: a table of functions for each instruction set. Plain data only:
// sources that are compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Integers of one row, and what they stand for: scale * (q - zero_point), where q is the byte, after `flip`ping bits.
struct QuantizedRow {
  const uint8_t* q;
  uint8_t flip;
  int32_t zero_point;
  float scale;
};

struct QuantizedRowKernels {
  /// Of n integers of 4 bits, two a byte, bytes; n is even, or there is room for one more.
  void (*unpack4)(const uint8_t* packed, int64_t n, uint8_t* q);
  void (*copy)(const QuantizedRow& row, int64_t n, float* out);
  /// sums[i] += factor * the row's number.
  void (*add)(const QuantizedRow& row, int64_t n, float factor, float* sums);
  void (*add_wide)(const QuantizedRow& row, int64_t n, float factor, double* sums);
  void (*largest)(const QuantizedRow& row, int64_t n, float* out);
};

extern const QuantizedRowKernels quantized_rows_scalar, quantized_rows_avx2, quantized_rows_avx512;

}  // namespace thimble::kernels
