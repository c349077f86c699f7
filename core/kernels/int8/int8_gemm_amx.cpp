// Tiles of 16 rows by 64 input features times 64 by 16 output channels. The packed layout of the weights is the tile
// layout already: 16 consecutive groups of a panel are a tile.
#include <thimble/core/kernels/int8/amx_tiles.h>
#include <thimble/core/kernels/int8/int8_gemm_vnni_vector.h>
#include <thimble/core/kernels/scratch.h>

namespace thimble::kernels {
namespace {

constexpr int64_t kBlockRows = 2 * kTileRows;

// Tile registers: sums in 0 to 3, rows in 4 and 5, weights in 6 and 7.
constexpr int kSums = 0, kRows = 4, kWeights = 6;

// Sets the shape of the tiles for `count` <= 32 rows; the second 16 have tiles of their own.
void configure(int64_t count) {
  const int64_t second = count > kTileRows ? count - kTileRows : kTileRows,
                first = count > kTileRows ? kTileRows : count;
  configure_tiles({{first, first, second, second, first, second, kTileRows, kTileRows}});
}

// 32 rows of input as tiles: where they lie if they fill whole tiles and cache lines, otherwise as a padded copy, since
// tiles that straddle cache lines load at half the speed. Padding with zeros makes it not matter what weights it meets.
class Rows {
 public:
  explicit Rows(const Int8GemmTask& t)
      : t_(t), padded_k_((t.k + 3) / 4 * 4), tiles_((t.segment_count * padded_k_ + kRowBytes - 1) / kRowBytes) {
    in_place_ = !t.rows && t.segment_count == 1 &&
                (reinterpret_cast<uintptr_t>(t.a) | static_cast<uintptr_t>(t.lda | t.k)) % kRowBytes == 0;
    // An odd number of cache lines, so that the rows of a tile do not compete for the same places in the cache.
    stride_ = in_place_ ? t.lda : (tiles_ | 1) * kRowBytes;
    if (!in_place_) copies_ = thread_scratch(ScratchUse::rows, 2 * copy_bytes());
  }

  /// A block's rows, valid until the next but one is loaded: to be called one block ahead, since tile loads wait for
  /// stores that are on their way.
  const uint8_t* load(int64_t row, int64_t count) {
    if (in_place_) return row_of(t_, row);
    uint8_t* copy = copies_ + (is_second_ ? copy_bytes() : 0);
    is_second_ = !is_second_;
    gather(row, count, copy);
    asm volatile("" ::"r"(copy) : "memory");  // tile loads do not tell the compiler that they read this
    return copy;
  }
  int64_t tiles() const { return tiles_; }    // along the input features
  int64_t stride() const { return stride_; }  // from row to row of a tile

 private:
  int64_t copy_bytes() const { return kBlockRows * stride_ + kRowBytes; }

  // The segments of a row side by side, each padded as the weights are. What is stored too much the next segment or
  // row overwrites. Everything is copied to locals, since the stores might change what lies in memory.
  void gather(int64_t row, int64_t count, uint8_t* copy) const {
    const Int8GemmTask t = t_;
    const int64_t segment_step = padded_k_, stride = stride_, last_tile = (tiles_ - 1) * kRowBytes;
    const int64_t whole = t.k / kRowBytes * kRowBytes;
    const __mmask64 rest = (uint64_t{1} << (t.k - whole)) - 1;
    for (int64_t r = 0; r < count; ++r, copy += stride) {
      const uint8_t* from = row_of(t, row + r);
      _mm512_storeu_si512(copy + last_tile, _mm512_setzero_si512());
      uint8_t* to = copy;
      for (int64_t s = 0; s < t.segment_count; ++s, to += segment_step) {
        const uint8_t* segment = from + t.segments[s];
        for (int64_t i = 0; i < whole; i += kRowBytes) _mm512_storeu_si512(to + i, _mm512_loadu_si512(segment + i));
        if (rest) _mm512_storeu_si512(to + whole, _mm512_maskz_loadu_epi8(rest, segment + whole));
      }
    }
  }

  const Int8GemmTask& t_;
  int64_t padded_k_, tiles_, stride_;
  bool in_place_;
  uint8_t* copies_ = nullptr;
  bool is_second_ = false;
};

// Multiplies blocks of 32 rows and P panels, one after the other. While a block is multiplied, the sums of the one
// before go through the epilogue, some rows after each step: vector instructions run beside tile instructions.
template <typename Out, int P>
class Pipeline {
 public:
  explicit Pipeline(const Int8GemmTask& t) : t_(t) {}

  // M is the number of tiles that `count` rows take.
  template <int M>
  void multiply(const Rows& rows, const uint8_t* first, int64_t row, int64_t count, int64_t panel) {
    const int8_t* weights = t_.weights + panel * t_.panel_stride;
    const int64_t stride = rows.stride(), panel_stride = t_.panel_stride;
    const uint8_t* second = first + kTileRows * stride;
    const Block before = blocks_[current_];
    const Epilogue<VnniVector, Out, P> epilogue(t_, before.panel);
    const int64_t rows_per_step = kBlockRows / (rows.tiles() + 1) + 1;
    int64_t finished = 0;
    tile_zero<0>();
    tile_zero<1>();
    tile_zero<2>();
    tile_zero<3>();
    for (int64_t i = 0; i < rows.tiles(); ++i, first += kRowBytes, second += kRowBytes, weights += kTileBytes) {
      tile_load<kRows>(first, stride);
      tile_stream<kWeights>(weights);
      multiply_unsigned_signed<kSums, kRows, kWeights>();
      if constexpr (P == 2) {
        tile_stream<kWeights + 1>(weights + panel_stride);
        multiply_unsigned_signed<kSums + 1, kRows, kWeights + 1>();
      }
      if constexpr (M == 2) {
        tile_load<kRows + 1>(second, stride);
        multiply_unsigned_signed<kSums + 2, kRows + 1, kWeights>();
        if constexpr (P == 2) multiply_unsigned_signed<kSums + 3, kRows + 1, kWeights + 1>();
      }
      finished = finish(epilogue, before, finished, finished + rows_per_step);
    }
    finish(epilogue, before, finished, before.count);

    current_ ^= 1;
    blocks_[current_] = {row, count, panel, sums_[current_]};
    int32_t *upper = sums_[current_], *lower = upper + kTileRows * P * kPanel;
    constexpr int64_t kStride = P * kPanel * sizeof(int32_t);
    tile_store<kSums>(upper, kStride);
    if constexpr (P == 2) tile_store<kSums + 1>(upper + kPanel, kStride);
    if constexpr (M == 2) tile_store<kSums + 2>(lower, kStride);
    if constexpr (M == 2 && P == 2) tile_store<kSums + 3>(lower + kPanel, kStride);
  }

  // To be called after the last block.
  void flush() const {
    const Block& last = blocks_[current_];
    finish(Epilogue<VnniVector, Out, P>(t_, last.panel), last, 0, last.count);
  }

 private:
  struct Block {
    int64_t row, count, panel;
    const int32_t* sums;
  };

  [[gnu::always_inline]] static int64_t finish(const Epilogue<VnniVector, Out, P>& epilogue, const Block& block,
                                               int64_t begin, int64_t end) {
    if (end > block.count) end = block.count;
    if (begin >= end) return begin;
    epilogue.finish(block.row + begin, end - begin, block.sums + begin * P * kPanel);
    return end;
  }

  const Int8GemmTask& t_;
  alignas(64) int32_t sums_[2][kBlockRows * P * kPanel];
  Block blocks_[2] = {};
  int current_ = 0;
};

template <typename Out>
void run_amx(const Int8GemmTask& t, const Int8GemmRange& range) {
  // The weights of a block stay in the second level cache while all rows pass over them.
  constexpr int64_t kBlockBytes = 1024 * 1024;
  const int64_t panels_per_block = (kBlockBytes / (t.panel_stride + 1) / 2 + 1) * 2;
  Rows rows(t);
  Pipeline<Out, 2> pairs(t);
  Pipeline<Out, 1> singles(t);
  int64_t configured = 0;
  for (int64_t begin = range.panel_begin; begin < range.panel_end; begin += panels_per_block) {
    const int64_t end = range.panel_end - begin < panels_per_block ? range.panel_end : begin + panels_per_block;
    const auto count_at = [&](int64_t row) {
      return range.row_end - row < kBlockRows ? range.row_end - row : kBlockRows;
    };
    const uint8_t* next = rows.load(range.row_begin, count_at(range.row_begin));
    for (int64_t row = range.row_begin; row < range.row_end; row += kBlockRows) {
      const int64_t count = count_at(row), next_row = row + kBlockRows;
      const uint8_t* first = next;
      if (next_row < range.row_end) next = rows.load(next_row, count_at(next_row));
      if (count != configured) configure(configured = count);
      int64_t panel = begin;
      if (count > kTileRows) {
        for (; panel + 2 <= end; panel += 2) pairs.template multiply<2>(rows, first, row, count, panel);
        if (panel < end) singles.template multiply<2>(rows, first, row, count, panel);
      } else {
        for (; panel + 2 <= end; panel += 2) pairs.template multiply<1>(rows, first, row, count, panel);
        if (panel < end) singles.template multiply<1>(rows, first, row, count, panel);
      }
    }
  }
  pairs.flush();
  singles.flush();
  asm volatile("tilerelease");
}

}  // namespace

void int8_gemm_amx(const Int8GemmTask& task, const Int8GemmRange& range) {
  // A single row fills no tile; of short sums, making tiles is most of the work.
  constexpr int64_t kShortest = 48;
  if (range.row_end - range.row_begin == 1 || task.segment_count * task.k < kShortest)
    return run_task<VnniVector>(task, range);
  if (task.float_out) {
    run_amx<float>(task, range);
  } else {
    run_amx<uint8_t>(task, range);
  }
}

}  // namespace thimble::kernels
