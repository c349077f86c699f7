// Sums over a batch of products of bfloat16: what weight gradients are. Internal.
#pragma once

#include <algorithm>

#include <thimble/core/kernels/gemm/bf16_product.h>
#include <thimble/core/kernels/reduce/partial_sums.h>
#include <thimble/core/kernels/rounding.h>

namespace thimble::kernels {

/// A sum over `samples` of `terms` each, of rows x columns products.
struct Bf16BatchSum {
  int64_t samples, terms, rows, columns;
};

/// The computation of one sum; see sum_bf16_over_batch().
template <typename LeftOf, typename RightOf>
class Bf16BatchSums {
 public:
  Bf16BatchSums(const Bf16BatchSum& sizes, LeftOf& left_of, RightOf& right_of, float* c, int64_t ldc)
      : s_(sizes), left_of_(left_of), right_of_(right_of), c_(c), ldc_(ldc) {}

  void run() const {
    const int64_t most = columns_at_once(), blocks = (s_.columns + most - 1) / most;
    const int64_t work = s_.samples * s_.terms * s_.rows * std::min(most, s_.columns);
    const bool is_short = Shards(s_.samples).size() * s_.terms <= Bf16Blocks::kMostShardTerms;
    const auto run_blocks = [&](int64_t begin, int64_t end) {
      for (int64_t column = begin * most; column < std::min(end * most, s_.columns); column += most) {
        const int64_t columns = std::min(most, s_.columns - column);
        is_short ? run_short(column, columns) : run_long(column, columns);
      }
    };
    // Blocks of columns need no memory for each thread; a few of them leave threads idle.
    if (is_short || blocks >= 2 * num_threads())
      parallel_for(blocks, std::max<int64_t>(1, kBf16Grain / std::max<int64_t>(1, work)), run_blocks);
    else
      run_blocks(0, blocks);
  }

 private:
  static constexpr int64_t kTerms = 128, kRows = 512;  // of the left operand that are packed at a time
  // Terms of a running sum of float32, so that it keeps its digits.
  static constexpr int64_t kRunningSum = 64 * 1024;

  // Of which all rows' sums stay in the second level cache, while the left operand is packed for all of them.
  int64_t columns_at_once() const {
    constexpr int64_t kElements = 64 * 1024;
    return round_up(std::clamp<int64_t>(kElements / std::max<int64_t>(1, s_.rows), 128, 1024));
  }

  // Adds products of packed columns of the right operand to sums [rows, columns], or sets them.
  void multiply(const Bf16Matrix& left, const Bf16Blocks& blocks, const uint32_t* right, int64_t columns, float* sums,
                int64_t distance, bool accumulate) const {
    for_equal_parts(left.rows, kRows, 1, [&](int64_t row, int64_t rows) {
      multiply_packed_bf16(pack_bf16_left(left.part(row, rows, 0, left.cols), blocks), rows, right,
                           blocks.pairs() * kBf16Panel, columns, blocks, sums + row * distance, distance, accumulate);
    });
  }

  const uint32_t* packed_right(int64_t term, int64_t terms, int64_t column, int64_t columns,
                               const Bf16Blocks& blocks) const {
    const int64_t panel = blocks.pairs() * kBf16Panel;
    auto* right = thread_scratch_of<uint32_t>(ScratchUse::right, round_up(columns) / kBf16Panel * panel);
    pack_bf16_right(right_of_(term, terms, column, columns), blocks, right, panel);
    return right;
  }

  // Shards of few terms meet in registers.
  void run_short(int64_t column, int64_t columns) const {
    const Bf16Blocks blocks = Bf16Blocks::in_shards(Shards(s_.samples), s_.terms);
    const int64_t terms = s_.samples * s_.terms;
    const bool in_place = columns == round_up(columns) && terms > 0;
    const int64_t distance = in_place ? ldc_ : round_up(columns);
    float* sums = in_place ? c_ + column : thread_scratch_of<float>(ScratchUse::product, s_.rows * distance);
    if (terms > 0)
      multiply(left_of_(0, terms).transposed(), blocks, packed_right(0, terms, column, columns, blocks), columns, sums,
               distance, false);
    else
      std::fill_n(sums, s_.rows * distance, 0.0f);
    if (!in_place) store(column, columns, sums);
  }

  void run_long(int64_t column, int64_t columns) const {
    const int64_t size = s_.rows * round_up(columns);
    const std::shared_ptr<void> total = allocate(static_cast<size_t>(size) * sizeof(float));
    const int64_t grain = std::max<int64_t>(1, kBf16Grain / std::max<int64_t>(1, s_.terms * s_.rows * columns));
    sum_in_shards(
        s_.samples, grain, size, static_cast<float*>(total.get()), [&](int64_t begin, int64_t end, float* sums) {
          SumInParts<float> parts(sums, size, kRunningSum);
          for (int64_t term = begin * s_.terms; term < end * s_.terms; term += kTerms) {
            const int64_t terms = std::min(kTerms, end * s_.terms - term);
            const auto [part, is_new] = parts.next(terms);
            const Bf16Blocks blocks = Bf16Blocks::in_turn(terms, !is_new);
            multiply(left_of_(term, terms).transposed(), blocks, packed_right(term, terms, column, columns, blocks),
                     columns, part, round_up(columns), !is_new);
          }
          parts.finish();
        });
    store(column, columns, static_cast<const float*>(total.get()));
  }

  void store(int64_t column, int64_t columns, const float* sums) const {
    for (int64_t i = 0; i < s_.rows; ++i) std::copy_n(sums + i * round_up(columns), columns, c_ + i * ldc_ + column);
  }

  static int64_t round_up(int64_t columns) { return kernels::round_up(columns, kBf16Panel); }

  Bf16BatchSum s_;
  LeftOf& left_of_;
  RightOf& right_of_;
  float* c_;
  int64_t ldc_;
};

/// c [rows, columns], rows ldc apart, = the sum of left^T * right, in shards of the batch: left_of(term, terms) gives
/// [terms, rows] of the left operand, right_of(term, terms, column, columns) some columns of the right one; both must
/// be valid together.
template <typename LeftOf, typename RightOf>
void sum_bf16_over_batch(const Bf16BatchSum& sizes, LeftOf&& left_of, RightOf&& right_of, float* c, int64_t ldc) {
  Bf16BatchSums(sizes, left_of, right_of, c, ldc).run();
}

}  // namespace thimble::kernels
