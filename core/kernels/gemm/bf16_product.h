// Products of bfloat16 block by block, for whoever has the left operand's rows in memory or makes them as they are
// needed. Internal.
#pragma once

#include <algorithm>
#include <memory>

#include <thimble/core/kernels/gemm/bf16_pack.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/memory.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

inline constexpr int64_t kBf16Grain = 250'000;  // multiply-adds worth another thread
inline constexpr int64_t kBf16Rows = 64;        // of the left operand that are packed at a time

/// Calls f(first term, blocks) for the parts that a sum's terms are packed in.
template <typename F>
void for_bf16_depths(int64_t terms, F&& f) {
  for_equal_parts(terms, Bf16Blocks::kMostTerms, 32,
                  [&](int64_t first, int64_t count) { f(first, count, Bf16Blocks::in_turn(count, first > 0)); });
}

/// A right operand [terms, columns], packed for all its terms.
class Bf16Panels {
 public:
  explicit Bf16Panels(int64_t terms) {
    for_bf16_depths(terms, [&](int64_t, int64_t, const Bf16Blocks& blocks) { step_ += blocks.pairs() * kBf16Panel; });
  }

  /// From a panel to the next.
  int64_t step() const { return step_; }
  int64_t elements(int64_t columns) const { return (columns + kBf16Panel - 1) / kBf16Panel * step_; }

  void pack(const Bf16Matrix& m, uint32_t* to) const {
    for_bf16_depths(m.rows, [&](int64_t first, int64_t terms, const Bf16Blocks& blocks) {
      pack_bf16_right(m.part(first, terms, 0, m.cols), blocks, to, step_);
      to += blocks.pairs() * kBf16Panel;
    });
  }

  /// The same on several threads, to memory of its own.
  std::shared_ptr<void> pack(const Bf16Matrix& m) const {
    std::shared_ptr<void> memory = allocate(static_cast<size_t>(elements(m.cols)) * sizeof(uint32_t));
    constexpr int64_t kElements = 16384;  // worth another thread
    const int64_t panels = (m.cols + kBf16Panel - 1) / kBf16Panel;
    parallel_for(panels, std::max<int64_t>(1, kElements / std::max<int64_t>(1, step_)),
                 [&](int64_t begin, int64_t end) {
                   const int64_t column = begin * kBf16Panel, columns = std::min(end * kBf16Panel, m.cols) - column;
                   pack(m.part(0, m.rows, column, columns), static_cast<uint32_t*>(memory.get()) + begin * step_);
                 });
    return memory;
  }

 private:
  int64_t step_ = 0;
};

/// Rows [row, row + rows) of a product with a packed right operand [terms, columns], at most `most` at a time:
/// pack(row, count, term, depth, blocks) packs some rows and terms of the left operand, and store(row, count, sums,
/// distance) takes the results. Uses ScratchUse::product.
template <typename PackLeft, typename Store>
void multiply_bf16_rows(int64_t row, int64_t rows, int64_t most, const Bf16Panels& panels, const uint32_t* right,
                        int64_t terms, int64_t columns, PackLeft&& pack, Store&& store) {
  const int64_t distance = (columns + kBf16Panel - 1) / kBf16Panel * kBf16Panel;
  for_equal_parts(rows, most, 1, [&](int64_t first, int64_t count) {
    float* sums = thread_scratch_of<float>(ScratchUse::product, count * distance);
    if (terms == 0) std::fill_n(sums, count * distance, 0.0f);
    const uint32_t* at = right;
    for_bf16_depths(terms, [&](int64_t term, int64_t depth, const Bf16Blocks& blocks) {
      multiply_packed_bf16(pack(row + first, count, term, depth, blocks), count, at, panels.step(), columns, blocks,
                           sums, distance, term > 0);
      at += blocks.pairs() * kBf16Panel;
    });
    store(row + first, count, sums, distance);
  });
}

}  // namespace thimble::kernels
