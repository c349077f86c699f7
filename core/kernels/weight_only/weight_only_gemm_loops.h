// The loops of weight_only_gemm(), the same for every instruction set. Included by each weight_only_gemm_<isa>.cpp,
// which says what a Dot D is; in an anonymous namespace, so that each has its own copy, compiled for its instruction
// set.
//
// Weights that share a byte belong to different channels, so that one product may serve them all: with two lanes a byte
// is b = w0 + 16 w1, and sum(w1 x) = (sum(b x) - sum((b & 15) x)) / 16. Only the lowest lanes cost an instruction to
// unpack. Where such sums of several lanes would not fit their integers, D says that it is not cumulative, and each
// lane is shifted and masked.
//
// D works on a panel of 16 channels and has
//   kWidth                int32 in a register
//   kFewSums, kManySums   panels of sums that a register tile of one row, or of many rows, should have
//   Bytes load(const uint8_t*)                   64 bytes: [16 channels][4 features]
//   kCumulative           whether sums of a lane hold those of the lanes below
//   Bytes masked(Bytes, uint8_t mask)            each byte & mask
//   Bytes shifted(Bytes, int n)                  each byte >> n, in the lowest 8 - n bits; if it is not cumulative
//   Weights weights(Bytes)                       as products want them
//   split(q, n, first, second)                   fixed-point numbers [n], n a multiple of 4, to two planes of n bytes;
//                                                q has kMostBlock readable elements
//   Activations activations(first, second)       4 bytes of each plane: 4 features, for all channels
//   kSums                 how many sums are kept of each panel and lane
//   Sum, zero(), sum(Sum, Sum), add_products(i, Sum, Weights, Activations); if it is cumulative, Sum - Sum, Sum >> n
//   Lanes<int32_t, ...> total(const Sum (&)[kSums])
#pragma once

#include <cstdint>
#include <cstring>

#include <thimble/core/kernels/vectors.h>
#include <thimble/core/kernels/weight_only/weight_only_gemm_task.h>

namespace thimble::kernels {
namespace {

constexpr int kPanel = 16;
constexpr int kMostBlock = 1024;
constexpr int kRowsAtOnce = 64;  // whose results wait in the first level cache while the blocks pass

template <typename D>
using Ints = Lanes<int32_t, D::kWidth, kPanel / D::kWidth>;

constexpr int at_least_1(int v) { return v > 1 ? v : 1; }

struct Block {
  int64_t index, group;
  int64_t begin, size;         // features
  int64_t quad, quads;         // groups of 4 features, the last one padded
  int64_t planes, plane_size;  // of a row in fixed point: where the first plane begins, and the bytes of each
};

// Calls f(block) for each.
template <typename F>
[[gnu::always_inline]] inline void for_each_block(const WeightOnlyTask& t, F&& f) {
  Block b{};
  for (; b.begin < t.k; ++b.group) {
    const int64_t group_end = t.k - b.begin < t.group_size ? t.k : b.begin + t.group_size;
    for (; b.begin < group_end; b.begin += b.size, b.quad += b.quads, b.planes += 2 * b.plane_size, ++b.index) {
      b.size = group_end - b.begin < t.block ? group_end - b.begin : t.block;
      b.quads = (b.size + 3) / 4;
      b.plane_size = (b.size + t.plane_multiple - 1) / t.plane_multiple * t.plane_multiple;
      f(b);
    }
  }
}

// One block of one row in fixed point; see weight_only_gemm.h for the rule. Its scale is NaN where it holds NaN or
// infinity, and so become all results of the row.
template <typename D>
void quantize_block(const float* x, const Block& b, uint8_t* planes, float* scale, int32_t* sum) {
  // Adding 1.5 * 2^23 leaves the integer, rounded half to even, in the lowest bits.
  constexpr float kRound = 12582912.0f;
  constexpr int32_t kRoundBits = 0x4b400000, kInfinityBits = 0x7f800000;
  alignas(64) int32_t q[kMostBlock];
  const int64_t padded = b.plane_size;
  int32_t largest = 0;  // magnitudes of floats are ordered as their bits are, and NaN comes last
  for (int64_t i = 0; i < b.size; ++i) {
    const int32_t magnitude = __builtin_bit_cast(int32_t, x[i]) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  int32_t total = 0;
  if (largest < kInfinityBits) {
    const float ideal = __builtin_bit_cast(float, largest) / 32512;
    *scale = largest == 0 ? 1 : ideal > 0x1p-126f ? ideal : 0x1p-126f;  // zeros cost no products of denormals
    const float reciprocal = 1 / *scale;
    for (int64_t i = 0; i < b.size; ++i) {
      q[i] = __builtin_bit_cast(int32_t, x[i] * reciprocal + kRound) - kRoundBits;
      total += q[i];
    }
    for (int64_t i = b.size; i < padded; ++i) q[i] = 0;
  } else {
    *scale = __builtin_nanf("");
    for (int64_t i = 0; i < padded; ++i) q[i] = 0;
  }
  *sum = total;
  D::split(q, padded, planes, planes + padded);
}

template <typename D>
void quantize_rows(const WeightOnlyTask& t, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    for_each_block(t, [&](const Block& b) {
      const int64_t at = row * t.blocks + b.index;
      quantize_block<D>(t.x + row * t.lda + b.begin, b, t.rows + row * t.row_stride + b.planes, t.row_scales + at,
                        t.row_sums + at);
    });
  }
}

// The weights of a lane, with those of the lanes below it if D is cumulative.
template <typename D, int kLanes>
[[gnu::always_inline]] inline typename D::Bytes lane_of(int lane, const typename D::Bytes& bytes) {
  constexpr int kBits = 8 / kLanes;
  if constexpr (kLanes == 1) {
    return bytes;
  } else if constexpr (D::kCumulative) {
    return lane == kLanes - 1 ? bytes : D::masked(bytes, static_cast<uint8_t>((1 << (kBits * (lane + 1))) - 1));
  } else {
    return D::masked(lane == 0 ? bytes : D::shifted(bytes, kBits * lane), (1 << kBits) - 1);
  }
}

// The integer sums of a tile of R rows and P byte panels, one for each plane that the instruction set adds up on its
// own.
template <typename D, int kLanes, int R, int P>
using TileSums = typename D::Sum[R][P][kLanes][D::kSums];

// Calls f(row, panel, lane, plane) for each of them.
template <typename D, int kLanes, int R, int P, typename F>
[[gnu::always_inline]] inline void for_each_sum(F&& f) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
      for (int lane = 0; lane < kLanes; ++lane) {
#pragma GCC unroll 2
        for (int i = 0; i < D::kSums; ++i) f(r, p, lane, i);
      }
    }
  }
}

// Four features: the bytes of P panels, and of each row a place in both planes.
template <typename D, int kLanes, int R, int P>
[[gnu::always_inline]] inline void add_quad(TileSums<D, kLanes, R, P>& sums, const uint8_t* weights,
                                            int64_t panel_stride, const uint8_t* planes, int64_t row_stride,
                                            int64_t second_plane) {
  typename D::Weights w[P][kLanes];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
    const typename D::Bytes bytes = D::load(weights + p * panel_stride);
#pragma GCC unroll 4
    for (int lane = 0; lane < kLanes; ++lane) w[p][lane] = D::weights(lane_of<D, kLanes>(lane, bytes));
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const uint8_t* first = planes + r * row_stride;
    const typename D::Activations a = D::activations(first, first + second_plane);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
      for (int lane = 0; lane < kLanes; ++lane) {
#pragma GCC unroll 2
        for (int i = 0; i < D::kSums; ++i) sums[r][p][lane][i] = D::add_products(i, sums[r][p][lane][i], w[p][lane], a);
      }
    }
  }
}

// A lane's own sums.
template <typename D, int kLanes>
[[gnu::always_inline]] inline Ints<D> own_sums(const typename D::Sum (&sums)[kLanes][D::kSums], int lane) {
  if constexpr (D::kCumulative) {
    if (lane == 0) return D::total(sums[0]);
    typename D::Sum own[D::kSums];
#pragma GCC unroll 2
    for (int i = 0; i < D::kSums; ++i) own[i] = (sums[lane][i] - sums[lane - 1][i]) >> (8 / kLanes * lane);
    return D::total(own);
  } else {
    return D::total(sums[lane]);
  }
}

// The scales and zero points [kLanes][16] of a group of a panel. Where there are no zero points, they are `middle`.
template <int kLanes>
struct Parameters {
  const float* scales;
  const uint8_t* zero_points;
  int32_t middle;

  [[gnu::always_inline]] Parameters(const WeightOnlyTask& t, int64_t panel, int64_t group) {
    const int64_t at = (panel * t.groups + group) * kLanes * kPanel;
    scales = t.scales + at;
    zero_points = t.zero_points ? t.zero_points + at : nullptr;
    middle = 1 << (t.bits - 1);
  }
};

// acc[kLanes][16] += float(own sums - zero points * row_sum) * (x_scale * scales), each float operation rounded.
template <typename D, int kLanes>
[[gnu::always_inline]] inline void accumulate(const typename D::Sum (&sums)[kLanes][D::kSums],
                                              const Parameters<kLanes>& parameters, int32_t row_sum, float x_scale,
                                              float* acc) {
  constexpr int kWidth = D::kWidth;
#pragma GCC unroll 4
  for (int lane = 0; lane < kLanes; ++lane) {
    const Ints<D> own = own_sums<D, kLanes>(sums, lane);
#pragma GCC unroll 4
    for (int i = 0; i < kPanel / kWidth; ++i) {
      const int at = lane * kPanel + i * kWidth;
      Vector<int32_t, kWidth> zero = broadcast<kWidth>(parameters.middle * row_sum);
      if (parameters.zero_points)
        zero = __builtin_convertvector(load<kWidth>(parameters.zero_points + at), Vector<int32_t, kWidth>) * row_sum;
      const auto exact = __builtin_convertvector(own.v[i] - zero, Vector<float, kWidth>);
      store(acc + at, load<kWidth>(acc + at) + exact * (load<kWidth>(parameters.scales + at) * x_scale));
    }
  }
}

// Adds a block's share to acc [R][P][kLanes][16]. Not inlined: within a larger function, g++ 12 moves the sums between
// registers and to memory and back in the inner loop.
template <typename D, int kLanes, int R, int P>
[[gnu::noinline]] void add_block(const WeightOnlyTask& t, const Block& b, int64_t row, int64_t panel, float* acc) {
  const int64_t quads = b.quads, panel_stride = t.panel_stride, row_stride = t.row_stride;
  const uint8_t* weights = t.weights + panel * panel_stride + b.quad * 64;
  const uint8_t* planes = t.rows + row * row_stride + b.planes;
  // A small tile would wait for the latency of its additions: it has several sets of sums, which take turns.
  constexpr int kSums = R * P * kLanes, kSets = kSums * 4 <= D::kFewSums ? 4 : kSums * 2 <= D::kFewSums ? 2 : 1;
  TileSums<D, kLanes, R, P> sets[kSets];
  auto& sums = sets[0];
#pragma GCC unroll 4
  for (auto& set : sets)
    for_each_sum<D, kLanes, R, P>([&](int r, int p, int lane, int i) { set[r][p][lane][i] = D::zero(); });
  int64_t quad = 0;
  for (; quad + kSets <= quads; quad += kSets) {
#pragma GCC unroll 4
    for (int set = 0; set < kSets; ++set)
      add_quad<D, kLanes, R, P>(sets[set], weights + (quad + set) * 64, panel_stride, planes + (quad + set) * 4,
                                row_stride, b.plane_size);
  }
  for (; quad < quads; ++quad)
    add_quad<D, kLanes, R, P>(sums, weights + quad * 64, panel_stride, planes + quad * 4, row_stride, b.plane_size);
#pragma GCC unroll 4
  for (int set = 1; set < kSets; ++set)
    for_each_sum<D, kLanes, R, P>([&](int r, int p, int lane, int i) {
      sums[r][p][lane][i] = D::sum(sums[r][p][lane][i], sets[set][r][p][lane][i]);
    });
  const float* x_scales = t.row_scales + row * t.blocks + b.index;
  const int32_t* row_sums = t.row_sums + row * t.blocks + b.index;
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
    const Parameters<kLanes> parameters(t, panel + p, b.group);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      accumulate<D, kLanes>(sums[r][p], parameters, row_sums[r * t.blocks], x_scales[r * t.blocks],
                            acc + (r * P + p) * kLanes * kPanel);
  }
}

// add_block() for a number of rows known only when running, at most R.
template <typename D, int kLanes, int R, int P>
void add_block_of_rows(int64_t rows, const WeightOnlyTask& t, const Block& b, int64_t row, int64_t panel, float* acc) {
  if (rows == R) return add_block<D, kLanes, R, P>(t, b, row, panel, acc);
  if constexpr (R > 1) add_block_of_rows<D, kLanes, R - 1, P>(rows, t, b, row, panel, acc);
}

// acc [count][kChannels] of rows from `row` on, through the epilogue. Channels beyond the last are dropped.
template <int kChannels>
void finish_rows(const WeightOnlyTask& t, int64_t row, int64_t count, int64_t channel, const float* acc) {
  const int64_t channels = t.n - channel < kChannels ? t.n - channel : kChannels;
  for (int64_t r = 0; r < count; ++r, acc += kChannels) {
    float* out = t.out + (row + r) * t.ldc + channel;
    for (int64_t c = 0; c < channels; ++c) {
      const float v = t.bias ? acc[c] + t.bias[channel + c] : acc[c];
      out[c] = t.relu && v < 0 ? 0 : v;
    }
  }
}

// Panels [panel, panel + P) of rows [begin, end), kRowsAtOnce at most. Blocks pass one by one, so that each stays in
// the first level cache for all rows.
template <typename D, int kLanes, int R, int P>
void run_block_of_rows(const WeightOnlyTask& t, int64_t begin, int64_t end, int64_t panel) {
  constexpr int kChannels = P * kLanes * kPanel;
  constexpr int kRows = R <= 2 ? R : kRowsAtOnce;
  alignas(64) float acc[kRows * kChannels];
  const int64_t rows = end - begin, tiles = (rows + R - 1) / R;
  std::memset(acc, 0, static_cast<size_t>(rows * kChannels) * sizeof(float));
  for_each_block(t, [&](const Block& b) {
    // Tiles as high as each other: a low one would wait for the latency of its additions.
    for (int64_t tile = 0, row = 0; tile < tiles; ++tile) {
      const int64_t tile_end = rows * (tile + 1) / tiles;
      add_block_of_rows<D, kLanes, R, P>(tile_end - row, t, b, begin + row, panel, acc + row * kChannels);
      row = tile_end;
    }
  });
  finish_rows<kChannels>(t, begin, rows, panel * kLanes * kPanel, acc);
}

template <typename D, int kLanes, int R, int P>
void run_panels(const WeightOnlyTask& t, const WeightOnlyRange& range, int64_t panel) {
  constexpr int kRows = R <= 2 ? R : kRowsAtOnce;
  for (int64_t row = range.row_begin; row < range.row_end; row += kRows)
    run_block_of_rows<D, kLanes, R, P>(t, row, range.row_end - row < kRows ? range.row_end : row + kRows, panel);
}

template <typename D, int kLanes, int R, int P>
void run_tiles(const WeightOnlyTask& t, const WeightOnlyRange& range) {
  int64_t panel = range.panel_begin;
  for (; panel + P <= range.panel_end; panel += P) run_panels<D, kLanes, R, P>(t, range, panel);
  for (; panel < range.panel_end; ++panel) run_panels<D, kLanes, R, 1>(t, range, panel);
}

template <typename D, int kLanes>
void run_range(const WeightOnlyTask& t, const WeightOnlyRange& range) {
  constexpr int kFewPanels = at_least_1(D::kFewSums / kLanes);
  constexpr int kMostRows = at_least_1(D::kManySums / kLanes), kRows = kMostRows < 6 ? kMostRows : 6;
  constexpr bool kHasRoomForTwo = 2 * kLanes <= (D::kFewSums > D::kManySums ? D::kFewSums : D::kManySums);
  const int64_t rows = range.row_end - range.row_begin;
  if (rows == 1)
    run_tiles<D, kLanes, 1, kFewPanels>(t, range);
  else if (kHasRoomForTwo && rows == 2)
    run_tiles<D, kLanes, 2, at_least_1(kFewPanels / 2)>(t, range);
  else
    run_tiles<D, kLanes, kRows, at_least_1(D::kManySums / kLanes / kRows)>(t, range);
}

template <typename D>
void run_task(const WeightOnlyTask& t, const WeightOnlyRange& range) {
  if (t.lanes == 1)
    run_range<D, 1>(t, range);
  else if (t.lanes == 2)
    run_range<D, 2>(t, range);
  else
    run_range<D, 4>(t, range);
}

}  // namespace
}  // namespace thimble::kernels
