// Rows of a table of integers of few bits as floats, and sums, means and maxima of several, without the table as floats
// in memory. Indices must have been checked. A number of row r is scale[r] * (q - zero_point[r]), rounded once; numbers
// are then added in the order of the entries, as embedding_bag_sum() does: the same bits on every instruction set and
// any number of threads, whatever the other bags are, and those of the float kernels on the table as floats.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/elementwise/embedding_bag.h>

namespace thimble::kernels {

/// A table of unsigned integers, each row packed by itself (bit_packing.h), with a scale and a zero point each.
struct QuantizedRows {
  const uint8_t* values = nullptr;
  int64_t columns = 0;
  int bits = 8;
  /// Of 8 bits: bytes are int8, of which 0 is the zero point. `zero_point` is null then.
  bool is_signed = false;
  const float* scale = nullptr;         ///< [rows]
  const uint8_t* zero_point = nullptr;  ///< [rows]; null: 2^(bits - 1) everywhere
};

/// out[i] = row index[i], float32 [entries, columns].
void quantized_rows(const QuantizedRows& table, const Bags& bags, NDArray& out);

/// embedding_bag_sum() and embedding_bag_max() of these rows: float32 [bags, columns].
void quantized_bag_sum(const QuantizedRows& table, const Bags& bags, const NDArray& scales, bool mean, NDArray& out);
void quantized_bag_max(const QuantizedRows& table, const Bags& bags, NDArray& out);

}  // namespace thimble::kernels
