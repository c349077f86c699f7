#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include <thimble/core/kernels/elementwise/bf16_rows.h>
#include <thimble/core/kernels/elementwise/flush_denormals.h>
#include <thimble/core/kernels/elementwise/transpose.h>
#include <thimble/core/kernels/gemm/bf16_pack.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/scratch.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kBlock = 32;  // terms

constexpr KernelOf<const Bf16GemmTable*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::amx, &bf16_gemm_amx}, {Isa::avx512, &bf16_gemm_avx512}, {Isa::avx2, &bf16_gemm_avx2}){
        Isa::scalar, &bf16_gemm_scalar}};

// n elements side by side as bfloat16: where they are, or rounded to memory.
const uint16_t* bits_of(const Bf16Matrix& m, int64_t offset, int64_t n, uint16_t* memory) {
  if (!m.is_float32) return static_cast<const uint16_t*>(m.data) + offset;
  bf16_rows().round(static_cast<const float*>(m.data) + offset, n, memory);
  return memory;
}

// The same to where they are packed; `memory` is for n numbers on the way.
void put(const Bf16Matrix& m, int64_t offset, int64_t n, uint16_t* memory, float* to) {
  bf16_rows().widen(bits_of(m, offset, n, memory), n, to);
}
void put(const Bf16Matrix& m, int64_t offset, int64_t n, uint16_t*, uint16_t* to) {
  const uint16_t* bits = bits_of(m, offset, n, to);
  if (bits != to) std::copy_n(bits, n, to);
}

// Calls run(first term, its place, terms) for terms that are packed without a gap, and gap(place, places).
template <typename Run, typename Gap>
void for_each_run(const Bf16Blocks& blocks, Run&& run, Gap&& gap) {
  int64_t term = 0, place = 0, terms = 0;
  for (const Bf16Block& block : blocks.all()) {
    terms += block.terms;
    const int64_t missing = 2 * block.pairs - block.terms;
    if (missing == 0) continue;
    run(term, place, terms);
    term += terms;
    gap(place + terms, missing);
    place += terms + missing;
    terms = 0;
  }
  if (terms > 0) run(term, place, terms);
}

// Parameters come from memory, and a part of a row is too short for the processor to see where the next one lies.
void prefetch_row(const Bf16Matrix& m, int64_t row) {
  constexpr int64_t kLine = 16;
  if (!m.is_float32 || row >= m.rows) return;
  const float* from = static_cast<const float*>(m.data) + row * m.row_stride;
  for (int64_t i = 0; i < m.cols; i += kLine) __builtin_prefetch(from + i);
}

// Rows of dense terms, `step` apart, as places of T.
template <typename T>
void pack_rows(const Bf16Matrix& m, const Bf16Blocks& blocks, T* to, int64_t step, uint16_t* rounded) {
  for (int64_t i = 0; i < m.rows; ++i, to += step) {
    prefetch_row(m, i + 1);
    for_each_run(
        blocks,
        [&](int64_t term, int64_t place, int64_t n) { put(m, i * m.row_stride + term, n, rounded, to + place); },
        [&](int64_t place, int64_t n) { std::fill_n(to + place, n, T{0}); });
  }
}

// Columns of dense rows: a row for each place.
void pack_columns(const Bf16Matrix& m, const Bf16Blocks& blocks, float* to, uint16_t* rounded) {
  for_each_run(
      blocks,
      [&](int64_t term, int64_t place, int64_t n) {
        if (m.col_stride == m.rows && !m.is_float32)  // without gaps
          return put(m, term * m.rows, n * m.rows, nullptr, to + place * m.rows);
        for (int64_t p = 0; p < n; ++p) put(m, (term + p) * m.col_stride, m.rows, rounded, to + (place + p) * m.rows);
      },
      [&](int64_t place, int64_t n) { std::fill_n(to + place * m.rows, n * m.rows, 0.0f); });
}

void pack_columns(const Bf16Matrix& m, const Bf16Blocks& blocks, uint16_t* to, int64_t step, uint16_t* rounded) {
  for_each_run(
      blocks,
      [&](int64_t term, int64_t place, int64_t n) {
        const uint16_t* from = static_cast<const uint16_t*>(m.data) + term * m.col_stride;
        if (m.is_float32) {
          for (int64_t p = 0; p < n; ++p) bits_of(m, (term + p) * m.col_stride, m.rows, rounded + p * m.rows);
          from = rounded;
        }
        Transpose<uint16_t>{from, m.is_float32 ? m.rows : m.col_stride, to + place, step}.run(m.rows, n);
      },
      [&](int64_t place, int64_t n) {
        for (int64_t i = 0; i < m.rows; ++i) std::fill_n(to + i * step + place, n, uint16_t{0});
      });
}

// Pairs of dense rows.
void interleave_rows(const Bf16Matrix& m, const Bf16Blocks& blocks, uint32_t* to, int64_t panel) {
  uint16_t *first = thread_scratch_of<uint16_t>(ScratchUse::rows, 3 * m.cols), *second = first + m.cols,
           *zeros = second + m.cols;
  std::fill_n(zeros, m.cols, uint16_t{0});
  const auto interleave = bf16_gemm_table().interleave;
  int64_t term = 0;
  for (const Bf16Block& block : blocks.all()) {
    for (int64_t i = 0; i < 2 * block.pairs; i += 2, to += kBf16Panel) {
      const auto row = [&](int64_t p, uint16_t* memory) {
        return p < block.terms ? bits_of(m, (term + p) * m.row_stride, m.cols, memory) : zeros;
      };
      prefetch_row(m, term + i + 4);
      prefetch_row(m, term + i + 5);
      interleave(row(i, first), row(i + 1, second), m.cols, to, panel);
    }
    term += block.terms;
  }
}

// Dense columns: a pair is one number already, and the panel's are transposed.
void transpose_pairs(const Bf16Matrix& m, const Bf16Blocks& blocks, uint32_t* to, int64_t panel) {
  const int64_t pairs = blocks.pairs();
  uint16_t* rows = thread_scratch_of<uint16_t>(ScratchUse::rows, kBf16Panel * 2 * pairs);
  for (int64_t column = 0; column < m.cols; column += kBf16Panel, to += panel) {
    const int64_t columns = std::min(kBf16Panel, m.cols - column);
    pack_rows(m.part(0, m.rows, column, columns).transposed(), blocks, rows, 2 * pairs, nullptr);
    if (columns < kBf16Panel) std::fill_n(to, pairs * kBf16Panel, 0u);
    Transpose<uint32_t>{reinterpret_cast<const uint32_t*>(rows), pairs, to, kBf16Panel}.run(pairs, columns);
  }
}

}  // namespace

const Bf16GemmTable& bf16_gemm_table() { return *best_kernel<kKernels>(); }

Bf16Matrix Bf16Matrix::part(int64_t row, int64_t row_count, int64_t column, int64_t column_count) const {
  const int64_t offset = (row * row_stride + column * col_stride) * (is_float32 ? 4 : 2);
  return {static_cast<const char*>(data) + offset, is_float32, row_count, column_count, row_stride, col_stride};
}

// A block with fewer terms than a full one ends with a pair of zeros: a chain that came to -0 becomes 0 by it, as by
// all the zeros of a whole tile. That matters only to sums that may be -0, not to the 0 that a first block is added to.
void Bf16Blocks::add(int64_t terms, bool is_first) {
  const int64_t pairs = (terms + 1) / 2;
  blocks_[count_++] = {terms, is_first ? pairs : std::min(pairs + 1, kBlock / 2)};
}

// Tiles are configured once for all blocks.
void Bf16Blocks::fill_tiles() {
  if (bf16_gemm_table().widened_left) return;
  int64_t most = 0;
  for (const Bf16Block& block : all()) most = std::max(most, block.pairs);
  for (int64_t i = 0; i < count_; ++i) blocks_[i].pairs = most;
}

Bf16Blocks Bf16Blocks::in_turn(int64_t terms, bool continues) {
  Bf16Blocks blocks;
  for (int64_t at = 0; at < terms; at += kBlock) blocks.add(std::min(kBlock, terms - at), at == 0 && !continues);
  blocks.fill_tiles();
  return blocks;
}

Bf16Blocks Bf16Blocks::in_shards(const Shards& shards, int64_t each) {
  Bf16Blocks blocks;
  for (int64_t shard = 0; shard < shards.count(); ++shard) {
    const int64_t terms = (shards.end(shard) - shards.begin(shard)) * each;
    for (int64_t at = 0; at < terms; at += kBlock) blocks.add(std::min(kBlock, terms - at), at == 0);
    // A shard ends as many branches as its number has ones at its end; the last one all that wait.
    const auto number = static_cast<uint64_t>(shard);
    blocks.blocks_[blocks.count_ - 1].merges =
        shard + 1 == shards.count() ? std::popcount(number) : std::countr_one(number);
  }
  blocks.fill_tiles();
  return blocks;
}

int64_t Bf16Blocks::pairs() const {
  int64_t sum = 0;
  for (const Bf16Block& block : all()) sum += block.pairs;
  return sum;
}

PackedLeft pack_bf16_left(const Bf16Matrix& m, const Bf16Blocks& blocks) {
  const int64_t places = 2 * blocks.pairs();
  const bool rows = m.col_stride == 1;
  uint16_t* rounded = thread_scratch_of<uint16_t>(ScratchUse::rows, !m.is_float32 ? 0
                                                                    : rows        ? m.cols
                                                                                  : m.rows * m.cols);
  if (!bf16_gemm_table().widened_left) {
    const int64_t step = 2 * packed_row_floats(places / 2);
    auto* to = thread_scratch_of<uint16_t>(ScratchUse::left, m.rows * step);
    if (rows)
      pack_rows(m, blocks, to, step, rounded);
    else
      pack_columns(m, blocks, to, step, rounded);
    return {to, step, 1};
  }
  const int64_t step = packed_row_floats(places);
  auto* to = thread_scratch_of<float>(ScratchUse::left, std::max(m.rows * step, m.rows * places));
  if (rows) {
    pack_rows(m, blocks, to, step, rounded);
    return {to, step, 1};
  }
  pack_columns(m, blocks, to, rounded);
  return {to, 1, m.rows};
}

void pack_bf16_right(const Bf16Matrix& m, const Bf16Blocks& blocks, uint32_t* to, int64_t panel) {
  if (m.col_stride == 1)
    interleave_rows(m, blocks, to, panel);
  else
    transpose_pairs(m, blocks, to, panel);
}

void multiply_packed_bf16(const PackedLeft& left, int64_t rows, const uint32_t* right, int64_t panel, int64_t columns,
                          const Bf16Blocks& blocks, float* c, int64_t ldc, bool accumulate) {
  const int64_t* row_offsets = left.rows;
  const int64_t* pair_offsets = left.pairs;
  if (!row_offsets) {
    const int64_t pairs = blocks.pairs();
    auto* offsets = thread_scratch_of<int64_t>(ScratchUse::offsets, rows + pairs);
    for (int64_t i = 0; i < rows; ++i) offsets[i] = i * left.row;
    for (int64_t i = 0; i < pairs; ++i) offsets[rows + i] = 2 * i * left.col;
    row_offsets = offsets;
    pair_offsets = offsets + rows;
  }
  const FlushDenormals flush;
  bf16_gemm_table().multiply({.m = rows,
                              .n = columns,
                              .a = left.data,
                              .rows = row_offsets,
                              .pairs = pair_offsets,
                              .a_row = left.row,
                              .a_col = left.col,
                              .b = right,
                              .b_panel = panel,
                              .blocks = blocks.all().data(),
                              .block_count = static_cast<int64_t>(blocks.all().size()),
                              .c = c,
                              .ldc = ldc,
                              .accumulate = accumulate});
}

}  // namespace thimble::kernels
