// Operands of products of bfloat16, and how they are brought into the order that the loops of bf16_gemm_rows.h read.
// Internal.
#pragma once

#include <cstdint>
#include <span>

#include <thimble/core/kernels/gemm/bf16_gemm_rows.h>
#include <thimble/core/kernels/reduce/shards.h>

namespace thimble::kernels {

/// A matrix whose rows or columns are dense, of bfloat16, or of float32 that is rounded where it is packed.
struct Bf16Matrix {
  const void* data;
  bool is_float32;
  int64_t rows, cols, row_stride, col_stride;

  Bf16Matrix part(int64_t row, int64_t row_count, int64_t column, int64_t column_count) const;
  Bf16Matrix transposed() const { return {data, is_float32, cols, rows, col_stride, row_stride}; }
};

/// A run of terms, cut into blocks.
class Bf16Blocks {
 public:
  static constexpr int64_t kMostTerms = 512, kMostShardTerms = 64;

  /// At most kMostTerms, that are added up one after the other, to what terms before them gave or not.
  static Bf16Blocks in_turn(int64_t terms, bool continues);
  /// Those of shards of `each` terms for each of the things that are sharded, at most kMostShardTerms for a shard.
  static Bf16Blocks in_shards(const Shards& shards, int64_t each);

  std::span<const Bf16Block> all() const { return {blocks_, static_cast<size_t>(count_)}; }
  int64_t pairs() const;

 private:
  void add(int64_t terms, bool is_first);
  void fill_tiles();

  Bf16Block blocks_[16];
  int64_t count_ = 0;
};

/// What multiplies at the level in use.
const Bf16GemmTable& bf16_gemm_table();

/// Bf16Task's left operand: its rows and terms lie so far apart, or where two lists say.
struct PackedLeft {
  const void* data;
  int64_t row, col;
  const int64_t *rows = nullptr, *pairs = nullptr;
};

/// From a packed row of float32 to the next: an odd number of cache lines.
constexpr int64_t packed_row_floats(int64_t places) { return (places + 15) / 32 * 32 + 16; }

/// Of m [rows, terms]; uses ScratchUse::left and rows.
PackedLeft pack_bf16_left(const Bf16Matrix& m, const Bf16Blocks& blocks);

/// Of m [terms, columns], to panels that lie `panel` apart. Uses ScratchUse::rows.
void pack_bf16_right(const Bf16Matrix& m, const Bf16Blocks& blocks, uint32_t* to, int64_t panel);

/// c [left.rows, columns], rows ldc apart, from packed operands. Uses ScratchUse::offsets.
void multiply_packed_bf16(const PackedLeft& left, int64_t rows, const uint32_t* right, int64_t panel, int64_t columns,
                          const Bf16Blocks& blocks, float* c, int64_t ldc, bool accumulate);

}  // namespace thimble::kernels
