// The inner loops of products of bfloat16, one table of them for each instruction set. Plain data only: sources that
// are compiled for a newer CPU include this. bf16_order.h says what they compute.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Columns of the right operand that are packed side by side.
inline constexpr int64_t kBf16Panel = 32;

/// Up to 32 terms, packed as pairs of an even one and an odd one.
struct Bf16Block {
  static constexpr int kShardGoesOn = -1;

  int64_t terms;
  int64_t pairs;  ///< more than the terms have are pairs of zeros
  /// For sums in shards (reduce/shards.h): how many branches of the tree end with this block's shard, if that ends.
  int merges = kShardGoesOn;
};

/// c [m, n] = a * b, or c + a * b.
struct Bf16Task {
  int64_t m, n;
  /// Of float32, widened, for tables that say so: an even term's element (i, pair) at rows[i] + pairs[pair], the odd
  /// one a_col behind it. Else of bfloat16: at i * a_row + term, terms numbered as they are packed.
  const void* a;
  const int64_t *rows, *pairs;
  int64_t a_row, a_col;
  /// Panels of kBf16Panel columns, b_panel apart: [pairs, kBf16Panel], an even term in the lower half of each.
  const uint32_t* b;
  int64_t b_panel;
  const Bf16Block* blocks;
  int64_t block_count;
  /// Rows have room for whole panels, and are written beyond n.
  float* c;
  int64_t ldc;
  bool accumulate;  ///< not in shards
};

struct Bf16GemmTable {
  bool widened_left;  ///< what Bf16Task::a is
  void (*multiply)(const Bf16Task& task);
  /// Two rows of n as one row of pairs, in panels so far apart; the last one is filled up with zeros.
  void (*interleave)(const uint16_t* even, const uint16_t* odd, int64_t n, uint32_t* pairs, int64_t panel);
};

extern const Bf16GemmTable bf16_gemm_scalar, bf16_gemm_avx2, bf16_gemm_avx512, bf16_gemm_amx;

}  // namespace thimble::kernels
