// Tiles of 16 rows by 64 input features times 64 by 16 output channels. The packed layout of the weights is the tile
// layout already: 16 consecutive groups of a panel are a tile. Rows are copied into the same form, 32 at a time, which
// costs little beside the speed of tiles that start on a cache line.
#include <thimble/core/kernels/int8_gemm_vnni_vector.h>

namespace thimble::kernels {
namespace {

constexpr int64_t kTileRows = 16, kRowBytes = 64, kTileBytes = kTileRows * kRowBytes, kBlockRows = 2 * kTileRows;

// Tile registers: sums in 0 to 3, rows in 4 and 5, weights in 6 and 7.
constexpr int kSums = 0, kRows = 4, kWeights = 6;

// The tile instructions, by hand because the compilers' intrinsics do not say that they read and write memory.
template <int Tile>
void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
void tile_load(const void* p) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(kRowBytes), "i"(Tile));
}
// For what is read once: asks not to displace the rest of the first level cache.
template <int Tile>
void tile_stream(const void* p) {
  asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(kRowBytes), "i"(Tile));
}
template <int Tile>
void tile_store(int32_t* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(Tile) : "memory");
}
// Adds the products of uint8 rows and int8 weights to the sums.
template <int Sums, int Rows, int Weights>
void tile_multiply() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Rows), "i"(Weights));
}

// Sets the shape of the tiles for `count` <= 32 rows; the second 16 have tiles of their own.
void configure(int64_t count) {
  struct alignas(64) {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {};
  const int64_t second = count > kTileRows ? count - kTileRows : kTileRows,
                first = count > kTileRows ? kTileRows : count;
  const int64_t rows[8] = {first, first, second, second, first, second, kTileRows, kTileRows};
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = kRowBytes;
    config.rows[tile] = static_cast<uint8_t>(rows[tile]);
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
}

// Rows of input as tiles, [2][tiles][16][64], padded with zeros, so that it does not matter what weights those meet.
class PackedRows {
 public:
  explicit PackedRows(int64_t k)
      : k_(k), tiles_((k + kRowBytes - 1) / kRowBytes), data_(int8_gemm_scratch(2 * tiles_ * kTileBytes)) {}

  void pack(const Int8GemmTask& t, int64_t row, int64_t count) {
    for (int64_t r = 0; r < count; ++r) {
      uint8_t* to = data_ + r / kTileRows * tiles_ * kTileBytes + r % kTileRows * kRowBytes;
      pack_row(t.a + (row + r) * t.lda, to);
    }
    asm volatile("" ::"r"(data_) : "memory");  // tile loads do not tell the compiler that they read this
  }
  int64_t tiles() const { return tiles_; }
  const uint8_t* first() const { return data_; }
  const uint8_t* second() const { return data_ + tiles_ * kTileBytes; }

 private:
  void pack_row(const uint8_t* from, uint8_t* to) const {
    int64_t left = k_;
    for (; left >= kRowBytes; left -= kRowBytes, from += kRowBytes, to += kTileBytes)
      _mm512_store_si512(to, _mm512_loadu_si512(from));
    if (left > 0) _mm512_store_si512(to, _mm512_maskz_loadu_epi8(~uint64_t{0} >> (kRowBytes - left), from));
  }

  int64_t k_, tiles_;
  uint8_t* data_;
};

// A block of sums whose way through the epilogue is still to come.
template <int P>
struct Pending {
  alignas(64) int32_t sums[kBlockRows * P * kPanel];
  int64_t row = 0, count = 0, panel = 0;
};

// block = the sums of the packed rows (16 * M of them) and P panels. Meanwhile the block before goes through the
// epilogue, some rows after each step, because vector instructions run beside tile instructions.
template <int M, int P, typename Out>
void multiply_block(const Int8GemmTask& t, const PackedRows& rows, const Pending<P>& before, Pending<P>& block) {
  const int8_t* weights = t.weights + block.panel * t.panel_stride;
  const int64_t stride = t.panel_stride;
  const uint8_t *first = rows.first(), *second = rows.second();
  const Epilogue<VnniVector, Out, P> epilogue(t, before.panel);
  const int64_t rows_per_step = kBlockRows / (rows.tiles() + 1) + 1;
  int64_t finished = 0;
  const auto finish_until = [&](int64_t end) {
    for (; finished < (end < before.count ? end : before.count); ++finished)
      epilogue.finish(before.row + finished, before.sums + finished * P * kPanel);
  };

  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int64_t i = 0; i < rows.tiles(); ++i) {
    tile_load<kRows>(first + i * kTileBytes);
    tile_stream<kWeights>(weights + i * kTileBytes);
    tile_multiply<kSums, kRows, kWeights>();
    if constexpr (P == 2) {
      tile_stream<kWeights + 1>(weights + stride + i * kTileBytes);
      tile_multiply<kSums + 1, kRows, kWeights + 1>();
    }
    if constexpr (M == 2) {
      tile_load<kRows + 1>(second + i * kTileBytes);
      tile_multiply<kSums + 2, kRows + 1, kWeights>();
      if constexpr (P == 2) tile_multiply<kSums + 3, kRows + 1, kWeights + 1>();
    }
    finish_until(finished + rows_per_step);
  }
  finish_until(before.count);

  constexpr int64_t kStride = P * kPanel * sizeof(int32_t);
  int32_t *upper = block.sums, *lower = block.sums + kTileRows * P * kPanel;
  tile_store<kSums>(upper, kStride);
  if constexpr (P == 2) tile_store<kSums + 1>(upper + kPanel, kStride);
  if constexpr (M == 2) tile_store<kSums + 2>(lower, kStride);
  if constexpr (M == 2 && P == 2) tile_store<kSums + 3>(lower + kPanel, kStride);
}

// As many groups of P panels as there are; returns the first panel that is left.
template <int M, int P, typename Out>
int64_t run_panel_groups(const Int8GemmTask& t, const PackedRows& rows, int64_t row, int64_t count, int64_t panel,
                         int64_t panel_end) {
  if (panel + P > panel_end) return panel;
  Pending<P> blocks[2];
  blocks[1].panel = panel;
  int current = 0;
  for (; panel + P <= panel_end; panel += P, current ^= 1) {
    blocks[current].panel = panel;
    multiply_block<M, P, Out>(t, rows, blocks[current ^ 1], blocks[current]);
    blocks[current].row = row;
    blocks[current].count = count;
  }
  const Pending<P>& last = blocks[current ^ 1];
  const Epilogue<VnniVector, Out, P> epilogue(t, last.panel);
  for (int64_t r = 0; r < count; ++r) epilogue.finish(row + r, last.sums + r * P * kPanel);
  return panel;
}

template <typename Out>
void run_rows(const Int8GemmTask& t, PackedRows& rows, int64_t row, int64_t count, int64_t panel, int64_t panel_end) {
  rows.pack(t, row, count);
  if (count > kTileRows) {
    panel = run_panel_groups<2, 2, Out>(t, rows, row, count, panel, panel_end);
    run_panel_groups<2, 1, Out>(t, rows, row, count, panel, panel_end);
  } else {
    panel = run_panel_groups<1, 2, Out>(t, rows, row, count, panel, panel_end);
    run_panel_groups<1, 1, Out>(t, rows, row, count, panel, panel_end);
  }
}

template <typename Out>
void run_amx(const Int8GemmTask& t, const Int8GemmRange& range) {
  // The weights of a block stay in the second level cache while all rows pass over them.
  constexpr int64_t kBlockBytes = 1024 * 1024;
  const int64_t panels_per_block = (kBlockBytes / (t.panel_stride + 1) / 2 + 1) * 2;
  PackedRows rows(t.k);
  for (int64_t panel = range.panel_begin; panel < range.panel_end; panel += panels_per_block) {
    const int64_t panel_end = range.panel_end - panel < panels_per_block ? range.panel_end : panel + panels_per_block;
    int64_t configured = 0;
    for (int64_t row = range.row_begin; row < range.row_end; row += kBlockRows) {
      const int64_t count = range.row_end - row < kBlockRows ? range.row_end - row : kBlockRows;
      if (count != configured) configure(configured = count);
      run_rows<Out>(t, rows, row, count, panel, panel_end);
    }
  }
  asm volatile("tilerelease");
}

}  // namespace

void int8_gemm_amx(const Int8GemmTask& task, const Int8GemmRange& range) {
  if (range.row_end - range.row_begin == 1) return run_task<VnniVector>(task, range);
  if (task.float_out) {
    run_amx<float>(task, range);
  } else {
    run_amx<uint8_t>(task, range);
  }
}

}  // namespace thimble::kernels
