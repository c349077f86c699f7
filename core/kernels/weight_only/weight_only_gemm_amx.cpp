// Tiles of 16 rows by 64 input features times 64 by 16 output channels. The packed layout of the weights is the tile
// layout already: 16 consecutive quads of a panel are a tile, and the bytes of a panel serve as the sums of all lanes;
// those of the lower lanes are masked into a buffer, once for all rows.
#include <thimble/core/kernels/int8/amx_tiles.h>
#include <thimble/core/kernels/weight_only/weight_only_gemm_vnni_dot.h>

namespace thimble::kernels {
namespace {

// Tile registers: sums in 0 to 3 (two lanes, high and low bytes each), rows in 4 (high) and 5 (low), weights in 6
// and 7.
constexpr int kHigh = 4, kLow = 5, kWeights = 6;
constexpr int64_t kBlockBytes = kMostBlock / 4 * 64;  // of weights

// A block's weights of all lanes up to each: the last lane's are the panel itself.
template <int kLanes>
class Unpacked {
 public:
  void unpack(const uint8_t* panel, int64_t quads) {
    panel_ = panel;
    for (int64_t i = 0; i < quads * 64; i += 64) {
      const __m512i bytes = VnniDot::load(panel + i);
#pragma GCC unroll 4
      for (int lane = 0; lane < kLanes - 1; ++lane)
        _mm512_store_si512(lower_ + lane * kBlockBytes + i, lane_of<VnniDot, kLanes>(lane, bytes));
    }
    asm volatile("" ::"r"(lower_) : "memory");  // tile loads do not tell the compiler that they read this
  }
  const uint8_t* up_to(int lane) const { return lane == kLanes - 1 ? panel_ : lower_ + lane * kBlockBytes; }

 private:
  const uint8_t* panel_ = nullptr;
  alignas(64) uint8_t lower_[(kLanes > 1 ? kLanes - 1 : 1) * kBlockBytes] = {};
};

// Sums of 16 rows: [lane][high and low][row][16].
template <int kLanes>
struct TileSums16 {
  alignas(64) int32_t of[kLanes][2][kTileRows][kPanel];
};

// Lanes [lane, lane + N) of 16 rows, whose planes begin at `planes` and `row_stride` bytes apart.
template <int kLanes, int N>
void multiply_lanes(const Unpacked<kLanes>& weights, int lane, const uint8_t* planes, int64_t row_stride,
                    int64_t plane_size, TileSums16<kLanes>& sums) {
  tile_zero<0>();
  tile_zero<1>();
  if constexpr (N == 2) {
    tile_zero<2>();
    tile_zero<3>();
  }
  const uint8_t *first = weights.up_to(lane), *second = weights.up_to(lane + N - 1);
  for (int64_t i = 0; i < plane_size; i += kRowBytes, first += kTileBytes, second += kTileBytes) {
    tile_load<kHigh>(planes + i, row_stride);
    tile_load<kLow>(planes + plane_size + i, row_stride);
    tile_load<kWeights>(first, kRowBytes);
    multiply_signed_unsigned<0, kHigh, kWeights>();
    multiply_signed_unsigned<1, kLow, kWeights>();
    if constexpr (N == 2) {
      tile_load<kWeights + 1>(second, kRowBytes);
      multiply_signed_unsigned<2, kHigh, kWeights + 1>();
      multiply_signed_unsigned<3, kLow, kWeights + 1>();
    }
  }
  tile_store<0>(sums.of[lane][0][0], kRowBytes);
  tile_store<1>(sums.of[lane][1][0], kRowBytes);
  if constexpr (N == 2) {
    tile_store<2>(sums.of[lane + 1][0][0], kRowBytes);
    tile_store<3>(sums.of[lane + 1][1][0], kRowBytes);
  }
}

// Adds a block's share to acc [count][kLanes][16], of count <= 16 rows.
template <int kLanes>
void add_tile(const WeightOnlyTask& t, const Block& b, const Unpacked<kLanes>& weights, int64_t row, int64_t count,
              const Parameters<kLanes>& parameters, float* acc) {
  TileSums16<kLanes> sums;
  constexpr int kStep = kLanes == 1 ? 1 : 2;
  for (int lane = 0; lane < kLanes; lane += kStep)
    multiply_lanes<kLanes, kStep>(weights, lane, t.rows + row * t.row_stride + b.planes, t.row_stride, b.plane_size,
                                  sums);
  for (int64_t r = 0; r < count; ++r) {
    VnniDot::Sum sums_of_row[kLanes][2];
#pragma GCC unroll 4
    for (int lane = 0; lane < kLanes; ++lane) {
      sums_of_row[lane][0] = load<kPanel>(sums.of[lane][0][r]);
      sums_of_row[lane][1] = load<kPanel>(sums.of[lane][1][r]);
    }
    const int64_t number = (row + r) * t.blocks + b.index;
    accumulate<VnniDot, kLanes>(sums_of_row, parameters, t.row_sums[number], t.row_scales[number],
                                acc + r * kLanes * kPanel);
  }
}

template <int kLanes>
void run_amx(const WeightOnlyTask& t, const WeightOnlyRange& range) {
  constexpr int64_t kChannels = kLanes * kPanel;
  configure_tiles({{16, 16, 16, 16, 16, 16, 16, 16}});
  Unpacked<kLanes> weights;
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    for (int64_t begin = range.row_begin; begin < range.row_end; begin += kRowsAtOnce) {
      const int64_t rows = range.row_end - begin < kRowsAtOnce ? range.row_end - begin : kRowsAtOnce;
      alignas(64) float acc[kRowsAtOnce * kChannels] = {};
      for_each_block(t, [&](const Block& b) {
        weights.unpack(t.weights + panel * t.panel_stride + b.quad * 64, b.quads);
        const Parameters<kLanes> parameters(t, panel, b.group);
        for (int64_t row = 0; row < rows; row += kTileRows)
          add_tile<kLanes>(t, b, weights, begin + row, rows - row < kTileRows ? rows - row : kTileRows, parameters,
                           acc + row * kChannels);
      });
      finish_rows<kChannels>(t, begin, rows, panel * kChannels, acc);
    }
  }
  asm volatile("tilerelease");
}

}  // namespace

void weight_only_gemm_amx(const WeightOnlyTask& task, const WeightOnlyRange& range) {
  // Tiles of few rows take as long as full ones.
  constexpr int64_t kFewestRows = 4;
  if (range.row_end - range.row_begin < kFewestRows) return run_task<VnniDot>(task, range);
  if (task.lanes == 1)
    run_amx<1>(task, range);
  else if (task.lanes == 2)
    run_amx<2>(task, range);
  else
    run_amx<4>(task, range);
}

}  // namespace thimble::kernels
