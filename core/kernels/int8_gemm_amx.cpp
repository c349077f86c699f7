// Tiles of 16 rows by 64 input features times 64 by 16 output channels. The packed layout of the weights is the tile
// layout: 16 consecutive groups of a panel are a tile.
#include <thimble/core/kernels/int8_gemm_vnni_vector.h>

namespace thimble::kernels {
namespace {

constexpr int kTileRows = 16, kTileBytes = 64;

// The tile instructions, by hand because the compiler's intrinsics do not say that they read and write memory.
template <int Tile>
void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
void tile_load(const void* p, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(Tile));
}
template <int Tile>
void tile_store(void* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(Tile) : "memory");
}
// sums += u8 rows * s8 weights
template <int Sums, int Rows, int Weights>
void tile_multiply() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Rows), "i"(Weights));
}
// What was written to *p before is in memory when later tile loads read it.
void finish_writes(const void* p) { asm volatile("" ::"r"(p) : "memory"); }

// Register use: sums in 0 to 3, rows in 4 and 5, weights in 6 and 7.
constexpr int kSums = 0, kRows = 4, kWeights = 6;

// Sets the shape of the tiles: `rows` rows of input and output, at most 32, the second 16 in tiles of their own.
void configure(int64_t rows) {
  struct alignas(64) {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
  } config = {};
  config.palette = 1;
  const auto first = static_cast<uint8_t>(rows < kTileRows ? rows : kTileRows);
  const auto second = static_cast<uint8_t>(rows < kTileRows + 1 ? 1 : rows - kTileRows);
  for (int tile = 0; tile < 8; ++tile) {
    const bool upper = rows > kTileRows && (tile == 2 || tile == 3 || tile == 5);
    config.bytes_per_row[tile] = kTileBytes;
    config.rows[tile] = tile >= kWeights ? kTileRows : upper ? second : first;
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
}

// Up to 32 rows of input, as tiles find them: all whole tiles in place, the remaining input features copied and padded
// with zeros, so that it does not matter what weights they meet.
struct Rows {
  const uint8_t* whole;
  int64_t stride, whole_tiles, tiles;
  alignas(64) uint8_t rest[2 * kTileRows][kTileBytes];

  Rows(const Int8GemmTask& t, int64_t row, int64_t count)
      : whole(t.a + row * t.lda), stride(t.lda), whole_tiles(t.k / kTileBytes) {
    const int64_t length = t.k % kTileBytes;
    tiles = whole_tiles + (length > 0);
    if (length == 0) return;
    const __mmask64 mask = ~uint64_t{0} >> (kTileBytes - length);
    for (int64_t r = 0; r < count; ++r)
      _mm512_store_si512(rest[r], _mm512_maskz_loadu_epi8(mask, whole + r * stride + whole_tiles * kTileBytes));
    finish_writes(rest);
  }
};

// A block of sums whose way through the epilogue is still to come. It is taken in small steps between the tile
// instructions of the next block, since those run beside the vector instructions.
template <typename Out, int P>
struct Pending {
  alignas(64) int32_t sums[2 * kTileRows * P * kPanel];
  int64_t row = 0, end = 0, panel = 0;
  const int32_t* next = sums;

  void start(int64_t first, int64_t count, int64_t first_panel) {
    row = first;
    end = first + count;
    panel = first_panel;
    next = sums;
  }
  void advance(const Channels& channels, int64_t rows) {
    for (; rows > 0 && row < end; --rows, ++row, next += P * kPanel)
      finish_row<VnniVector, Out, P>(channels, row, panel, next);
  }
};

template <int M, int P>
void multiply_step(const uint8_t* rows, int64_t stride, const int8_t* weights, int64_t panel_stride) {
  tile_load<kRows>(rows, stride);
  tile_load<kWeights>(weights, kTileBytes);
  tile_multiply<0, kRows, kWeights>();
  if constexpr (P == 2) {
    tile_load<kWeights + 1>(weights + panel_stride, kTileBytes);
    tile_multiply<1, kRows, kWeights + 1>();
  }
  if constexpr (M == 2) {
    tile_load<kRows + 1>(rows + kTileRows * stride, stride);
    tile_multiply<2, kRows + 1, kWeights>();
    if constexpr (P == 2) tile_multiply<3, kRows + 1, kWeights + 1>();
  }
}

template <int M, int P, typename Out>
void multiply_block(const Channels& channels, const Rows& rows, int64_t panel, int32_t* sums,
                    Pending<Out, P>& pending) {
  const Int8GemmTask& t = channels.task();
  const int8_t* weights = t.weights + panel * t.panel_stride;
  const int64_t steps = (pending.end - pending.row + rows.tiles - 1) / (rows.tiles > 0 ? rows.tiles : 1);
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int64_t i = 0; i < rows.whole_tiles; ++i, weights += kTileRows * kTileBytes) {
    multiply_step<M, P>(rows.whole + i * kTileBytes, rows.stride, weights, t.panel_stride);
    pending.advance(channels, steps);
  }
  if (rows.tiles > rows.whole_tiles) multiply_step<M, P>(rows.rest[0], kTileBytes, weights, t.panel_stride);
  constexpr int64_t kStride = P * kPanel * sizeof(int32_t);
  pending.advance(channels, 2 * kTileRows);
  tile_store<0>(sums, kStride);
  if constexpr (P == 2) tile_store<1>(sums + kPanel, kStride);
  if constexpr (M == 2) tile_store<2>(sums + kTileRows * P * kPanel, kStride);
  if constexpr (M == 2 && P == 2) tile_store<3>(sums + (kTileRows * P + 1) * kPanel, kStride);
}

template <int M, int P, typename Out>
int64_t run_panels_of(const Channels& channels, const Rows& rows, int64_t row, int64_t count, int64_t panel,
                      int64_t panel_end) {
  Pending<Out, P> blocks[2];
  int current = 0;
  for (; panel + P <= panel_end; panel += P, current ^= 1) {
    multiply_block<M, P>(channels, rows, panel, blocks[current].sums, blocks[current ^ 1]);
    blocks[current].start(row, count, panel);
  }
  blocks[current ^ 1].advance(channels, count);
  return panel;
}

template <int M, typename Out>
void run_rows(const Channels& channels, int64_t row, int64_t count, int64_t panel, int64_t panel_end) {
  const Rows rows(channels.task(), row, count);
  panel = run_panels_of<M, 2, Out>(channels, rows, row, count, panel, panel_end);
  run_panels_of<M, 1, Out>(channels, rows, row, count, panel, panel_end);
}

template <typename Out>
void run_amx(const Channels& channels, const Int8GemmRange& range) {
  constexpr int64_t kBlockRows = 2 * kTileRows;
  constexpr int64_t kBlockBytes = 1024 * 1024;
  const int64_t panels_per_block = (kBlockBytes / (channels.task().panel_stride + 1) / 2 + 1) * 2;
  for (int64_t panel = range.panel_begin; panel < range.panel_end; panel += panels_per_block) {
    const int64_t panel_end = range.panel_end - panel < panels_per_block ? range.panel_end : panel + panels_per_block;
    int64_t row = range.row_begin;
    configure(kBlockRows);
    for (; row + kBlockRows <= range.row_end; row += kBlockRows)
      run_rows<2, Out>(channels, row, kBlockRows, panel, panel_end);
    const int64_t count = range.row_end - row;
    if (count == 0) continue;
    configure(count);
    if (count > kTileRows)
      run_rows<2, Out>(channels, row, count, panel, panel_end);
    else
      run_rows<1, Out>(channels, row, count, panel, panel_end);
  }
  asm volatile("tilerelease");
}

}  // namespace

void int8_gemm_amx(const Int8GemmTask& task, const Int8GemmRange& range) {
  if (range.row_end - range.row_begin < 3) return run_task<VnniVector>(task, range);
  const Channels channels(task);
  if (task.float_out) {
    run_amx<float>(channels, range);
  } else {
    run_amx<uint8_t>(channels, range);
  }
}

}  // namespace thimble::kernels
