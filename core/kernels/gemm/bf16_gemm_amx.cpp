// Tiles of 16 rows by 32 terms times 32 terms by 16 columns, four of their products at a time. The packed layout is the
// tile layout already: a block's pairs of a panel are the rows of two tiles side by side.
#include <thimble/core/kernels/gemm/bf16_gemm_loops.h>
#include <thimble/core/kernels/int8/amx_tiles.h>

namespace thimble::kernels {
namespace {

// Tile registers: sums in 0 to 3 (row by row), the left operand in 4 and 5, the right one in 6 and 7.
constexpr int kLeft = 4, kRight = 6;
constexpr int64_t kSide = 2 * kTileRows, kFloat = sizeof(float);
constexpr int64_t kPanelBytes = kBf16Panel * static_cast<int64_t>(sizeof(uint32_t));

// Which of the four tiles there are: whether any rows, or columns, lie beyond the first 16.
struct TileParts {
  bool lower, right;
};

void zero_sums(const TileParts& parts) {
  tile_zero<0>();
  if (parts.right) tile_zero<1>();
  if (parts.lower) tile_zero<2>();
  if (parts.lower && parts.right) tile_zero<3>();
}

void load_sums(const TileParts& parts, const float* c, int64_t ldc) {
  tile_load<0>(c, ldc * kFloat);
  if (parts.right) tile_load<1>(c + kTileRows, ldc * kFloat);
  if (parts.lower) tile_load<2>(c + kTileRows * ldc, ldc * kFloat);
  if (parts.lower && parts.right) tile_load<3>(c + kTileRows * ldc + kTileRows, ldc * kFloat);
}

void store_sums(const TileParts& parts, float* c, int64_t ldc) {
  tile_store<0>(c, ldc * kFloat);
  if (parts.right) tile_store<1>(c + kTileRows, ldc * kFloat);
  if (parts.lower) tile_store<2>(c + kTileRows * ldc, ldc * kFloat);
  if (parts.lower && parts.right) tile_store<3>(c + kTileRows * ldc + kTileRows, ldc * kFloat);
}

void add_block(const TileParts& parts, const uint16_t* a, int64_t a_row, const uint32_t* b) {
  const int64_t row_bytes = a_row * static_cast<int64_t>(sizeof(uint16_t));
  tile_load<kLeft>(a, row_bytes);
  tile_load<kRight>(b, kPanelBytes);
  multiply_bf16_pairs<0, kLeft, kRight>();
  if (parts.right) {
    tile_load<kRight + 1>(b + kTileRows, kPanelBytes);
    multiply_bf16_pairs<1, kLeft, kRight + 1>();
  }
  if (!parts.lower) return;
  tile_load<kLeft + 1>(a + kTileRows * a_row, row_bytes);
  multiply_bf16_pairs<2, kLeft + 1, kRight>();
  if (parts.right) multiply_bf16_pairs<3, kLeft + 1, kRight + 1>();
}

// Sums of a shard, or of a branch of the tree that they are added up in.
struct Branch {
  alignas(64) float of[kSide * kSide];

  void add(const Branch& right) {
    for (int64_t i = 0; i < kSide * kSide; ++i) of[i] += right.of[i];
  }
};

void run_tiles(const Bf16Task& t, const TileParts& parts, const uint16_t* a, const uint32_t* b, float* c) {
  Branch branches[Shards::kLevels];
  int waiting = 0;
  if (t.accumulate)
    load_sums(parts, c, t.ldc);
  else
    zero_sums(parts);
  for (const Bf16Block *block = t.blocks, *end = block + t.block_count; block != end; ++block) {
    add_block(parts, a, t.a_row, b);
    a += 2 * block->pairs;
    b += block->pairs * kBf16Panel;
    if (block->merges == Bf16Block::kShardGoesOn) continue;
    store_sums(parts, branches[waiting].of, kSide);
    for (int i = 0; i < block->merges; ++i, --waiting) branches[waiting - 1].add(branches[waiting]);
    ++waiting;
    zero_sums(parts);
  }
  if (waiting > 0) {
    asm volatile("" ::: "memory");  // tile loads do not tell the compiler what they read
    load_sums(parts, branches[0].of, kSide);
  }
  store_sums(parts, c, t.ldc);
}

void multiply_amx(const Bf16Task& t) {
  const int64_t pairs = t.blocks[0].pairs, left_bytes = pairs * static_cast<int64_t>(sizeof(uint32_t));
  const auto* a = static_cast<const uint16_t*>(t.a);
  float* c = t.c;
  int64_t configured = 0;
  for (int64_t row = 0; row < t.m; row += kSide, a += kSide * t.a_row, c += kSide * t.ldc) {
    const int64_t rows = t.m - row < kSide ? t.m - row : kSide;
    const int64_t upper = rows < kTileRows ? rows : kTileRows, lower = rows - upper;
    if (rows != configured)
      configure_tiles({{upper, upper, lower, lower, upper, lower, pairs, pairs}},
                      {{kRowBytes, kRowBytes, kRowBytes, kRowBytes, left_bytes, left_bytes, kRowBytes, kRowBytes}});
    configured = rows;
    for (int64_t column = 0; column < t.n; column += kBf16Panel)
      run_tiles(t, {lower > 0, t.n - column > kTileRows}, a, t.b + column / kBf16Panel * t.b_panel, c + column);
  }
  asm volatile("tilerelease");
}

}  // namespace

constinit const Bf16GemmTable bf16_gemm_amx{false, multiply_amx, interleave<64>};

}  // namespace thimble::kernels
