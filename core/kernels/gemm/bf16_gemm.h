// Products of bfloat16 with sums of float32. bf16_order.h says in which order these are added up, and nothing else has
// an influence on their bits: neither instruction set nor threads nor the other rows.
#pragma once

#include <thimble/core/kernels/gemm/bf16_pack.h>

namespace thimble::kernels {

/// Where a product goes: dense, of float32 or rounded to bfloat16, after a bias (null for none), one number a column.
struct Bf16Result {
  void* data;
  bool is_float32;
  const float* bias = nullptr;

  /// Stores sums [rows, columns] that lie `distance` apart as rows of an array with `stride` columns, at `offset`.
  /// Changes them.
  void store(float* sums, int64_t distance, int64_t rows, int64_t columns, int64_t offset, int64_t stride) const;
};

/// c [a.rows, b.cols] = a * b + bias. Several threads share the work, unless told not to.
void bf16_gemm(const Bf16Matrix& a, const Bf16Matrix& b, const Bf16Result& c, bool threads = true);

/// c [left.cols, right.cols], of float32, = left^T * right, where the rows of both are samples of a batch: summed in
/// shards (reduce/shards.h).
void bf16_sum_over_batch(const Bf16Matrix& left, const Bf16Matrix& right, float* c);

}  // namespace thimble::kernels
