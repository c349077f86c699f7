// The loops of int8_depthwise_rows.h, the same for every instruction set that has vectors. Included by each
// int8_depthwise_<isa>.cpp, which says what registers there are; in an anonymous namespace, so that each has its own
// copy, compiled for its instruction set.
//
// A panel of channels goes through the image in three steps, for some rows of outputs and a tile of columns at a time:
//   1. Groups of four or two rows of the image are interleaved, column by column, which is what the products want. What
//      is outside of the image is put around it here. Several rows of outputs use the same groups, with weights of 0
//      for rows that they do not see.
//   2. Quarter by quarter (int8_depthwise_vector.h), a row of outputs is summed up and made bytes, four columns at
//      once, with weights and parameters in registers.
//   3. Quarters become pixels.
#pragma once

#include <cstdint>
#include <cstring>

#include <thimble/core/kernels/int8/int8_depthwise_floats.h>
#include <thimble/core/kernels/int8/int8_depthwise_rows.h>
#include <thimble/core/kernels/int8/int8_depthwise_vector.h>

namespace thimble::kernels {
namespace {

constexpr int kBlock = 4;                  // columns of outputs that are summed up at once
constexpr int64_t kTileBytes = 24 * 1024;  // of interleaved rows: half of a first level cache
constexpr int64_t kRowSlack = kWidestDepthwisePanel;

inline int64_t blocks_of(int64_t columns) { return (columns + kBlock - 1) / kBlock; }

// How rows of outputs share groups of interleaved rows, which lie dilation apart.
template <typename V>
struct RowGroups {
  int64_t outputs = 1;  // rows of outputs that are computed with the same groups
  int64_t used;         // groups that each of them sees
  int64_t all;          // groups that they see together

  explicit RowGroups(const Int8DepthwiseAxis& rows) : used(groups_of(rows.taps)) {
    // Of groups of four rows there are no more than what one row of outputs uses, whose last rows others see, too. Of
    // groups of two some more.
    if (rows.dilation == 1) outputs = V::kRows == 4 ? (used * 4 - rows.taps) / rows.stride + 1 : 4;
    if (V::kRows == 2 && rows.stride % 2 != 0) used = groups_of(rows.taps + 1);
    all = first(rows, outputs - 1) + used;
  }
  static int64_t groups_of(int64_t rows) { return (rows + V::kRows - 1) / V::kRows; }
  // Of those that the output-th row of outputs uses.
  int64_t first(const Int8DepthwiseAxis& rows, int64_t output) const {
    return V::kRows == 4 ? 0 : output * rows.stride / V::kRows;
  }
};

// A tile's columns.
template <typename V>
struct Tile {
  int64_t outputs;  // a multiple of kBlock
  int64_t columns;  // of the image that they see

  explicit Tile(const Int8DepthwiseShape& s) {
    const int64_t most = kTileBytes / (RowGroups<V>(s.rows).all * V::kQuarters * V::kRegisterBytes);
    const int64_t blocks = blocks_of(s.width), fit = ((most - seen_by(s.columns, 1)) / s.columns.stride + 1) / kBlock;
    const int64_t tiles = fit > 0 ? (blocks + fit - 1) / fit : blocks;
    outputs = tiles > 0 ? (blocks + tiles - 1) / tiles * kBlock : kBlock;
    columns = seen_by(s.columns, outputs);
  }
  static int64_t seen_by(const Int8DepthwiseAxis& axis, int64_t outputs) {
    return (outputs - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1;
  }
};

// Where the parts of a panel's scratch memory lie, in bytes.
template <typename V>
struct ScratchLayout {
  int64_t quarters, rows, end;

  ScratchLayout(const Int8DepthwiseShape& s, const Tile<V>& tile)
      : quarters(RowGroups<V>(s.rows).all * tile.columns * V::kQuarters * V::kRegisterBytes),
        rows(quarters + tile.outputs * V::kRegisterBytes),
        end(rows + (s.channels < V::kChannels ? V::kRows * row_bytes(s) : 0)) {}
  static int64_t row_bytes(const Int8DepthwiseShape& s) { return s.columns.size * s.channels + kRowSlack; }
};

// Sums of kBlock outputs side by side, of a quarter. Groups of columns lie group_step registers apart, and so do their
// weights, [groups][taps].
//
// For taps, strides and groups that are known when compiling:
template <typename V, int kTaps, int kStride, int kGroups>
struct KnownTaps {
  using Ints = typename V::Ints;
  static constexpr bool kIsBounded = true;
  static constexpr int64_t stride(const Int8DepthwiseShape&) { return kStride; }

  [[gnu::always_inline]] static void sum(const Int8DepthwiseShape&, const Ints* columns, int64_t group_step,
                                         const Ints* weights, Ints (&sums)[kBlock]) {
    // Weights that are more than registers can hold are loaded for each block.
    if constexpr (kGroups * kTaps > 12) asm("" : "+r"(weights));
    const Ints* of_group = columns;
#pragma GCC unroll 4
    for (int group = 0; group < kGroups; ++group) {
      Ints weight[kTaps];
#pragma GCC unroll 8
      for (int tap = 0; tap < kTaps; ++tap) weight[tap] = V::load(weights + group * kTaps + tap);
#pragma GCC unroll 16
      for (int column = 0; column < (kBlock - 1) * kStride + kTaps; ++column) {
        const Ints x = V::load(of_group + column * V::kQuarters);
#pragma GCC unroll 4
        for (int p = 0; p < kBlock; ++p) {
          const int tap = column - p * kStride;
          if (tap >= 0 && tap < kTaps) sums[p] = V::add_products(sums[p], x, weight[tap]);
        }
      }
      of_group += group_step;
      asm("" : "+r"(of_group));  // or g++ keeps the distance of each column, in memory
    }
  }
};

// For any.
template <typename V>
struct AnyTaps {
  using Ints = typename V::Ints;
  static constexpr bool kIsBounded = false;
  static int64_t stride(const Int8DepthwiseShape& s) { return s.columns.stride; }

  [[gnu::always_inline]] static void sum(const Int8DepthwiseShape& s, const Ints* columns, int64_t group_step,
                                         const Ints* weights, Ints (&sums)[kBlock]) {
    const int64_t groups = RowGroups<V>(s.rows).used, stride = s.columns.stride * V::kQuarters;
    for (int64_t group = 0; group < groups; ++group)
      for (int64_t tap = 0; tap < s.columns.taps; ++tap, ++weights) {
        const Ints* at = columns + group * group_step + tap * s.columns.dilation * V::kQuarters;
        const Ints weight = V::load(weights);
#pragma GCC unroll 4
        for (int p = 0; p < kBlock; ++p) sums[p] = V::add_products(sums[p], V::load(at + p * stride), weight);
      }
  }
};

// f.operator()<Taps>() for how the taps of rows of outputs are added up.
template <typename V, typename F>
void with_taps_of(const Int8DepthwiseShape& s, bool is_bounded, F&& f) {
  constexpr int kOf3 = V::kRows == 4 ? 1 : 2, kOf5 = V::kRows == 4 ? 2 : 3;
  const int64_t used = RowGroups<V>(s.rows).used;
  const auto are = [&](int64_t taps, int64_t stride, int64_t groups) {
    return is_bounded && s.columns.taps == taps && s.columns.stride == stride && s.columns.dilation == 1 &&
           used == groups;
  };
  if (are(3, 1, kOf3)) return f.template operator()<KnownTaps<V, 3, 1, kOf3>>();
  if (are(3, 2, kOf3)) return f.template operator()<KnownTaps<V, 3, 2, kOf3>>();
  if (are(5, 1, kOf5)) return f.template operator()<KnownTaps<V, 5, 1, kOf5>>();
  if (are(5, 2, kOf5)) return f.template operator()<KnownTaps<V, 5, 2, kOf5>>();
  f.template operator()<AnyTaps<V>>();
}

// Channels [first, first + count) of a task, at most kChannels.
template <typename V>
class DepthwisePanel {
 public:
  using Ints = typename V::Ints;

  DepthwisePanel(const Int8DepthwiseTask& task, int64_t first, int64_t count, const void* weights)
      : t_(task),
        s_(task.shape),
        first_(first),
        count_(count),
        groups_(s_.rows),
        tile_(s_),
        weights_(static_cast<const Ints*>(weights)) {
    auto* scratch = static_cast<uint8_t*>(t_.scratch);
    const ScratchLayout<V> layout(s_, tile_);
    columns_ = reinterpret_cast<Ints*>(scratch);
    quarters_ = reinterpret_cast<Ints*>(scratch + layout.quarters);
    rows_ = scratch + layout.rows;
    reorder(t_.bias + first_, bias_);
    reorder(t_.multiplier + first_, multiplier_);
    bool is_unbounded = false;
    for (int64_t i = 0; i < count_; ++i) {
      const float multiplier = t_.multiplier[first_ + i];
      is_unbounded |= !(multiplier > -1) | !(multiplier < 1);
    }
    is_bounded_ = !is_unbounded;
  }

  static int64_t registers_of_weights(const Int8DepthwiseShape& s) {
    const RowGroups<V> groups(s.rows);
    return groups.outputs * V::kQuarters * groups.used * s.columns.taps;
  }

  // [rows of outputs][quarters][groups that they use][taps]
  static void pack(const Int8DepthwiseShape& s, const int8_t* weight, int64_t count, void* packed) {
    const RowGroups<V> groups(s.rows);
    auto* to = static_cast<typename V::Weight*>(packed);
    for (int64_t output = 0; output < groups.outputs; ++output)
      for (int q = 0; q < V::kQuarters; ++q)
        for (int64_t group = groups.first(s.rows, output), i = 0; i < groups.used; ++i, ++group)
          for (int64_t tap = 0; tap < s.columns.taps; ++tap)
            for (int sum = 0; sum < V::kSums; ++sum)
              for (int j = 0; j < V::kRows; ++j) {
                const int64_t channel = V::channel_of(q, sum), row = V::kRows * group + j - output * s.rows.stride;
                const bool exists = channel < count && row >= 0 && row < s.rows.taps;
                *to++ = exists ? weight[(channel * s.rows.taps + row) * s.columns.taps + tap] : 0;
              }
  }

  void run() const {
    for (int64_t row = 0; row < t_.height; row += groups_.outputs) {
      const int64_t rows = smaller(groups_.outputs, t_.height - row);
      for (int64_t column = 0; column < s_.width; column += tile_.outputs) {
        const int64_t columns = smaller(tile_.outputs, s_.width - column);
        for (int64_t group = 0; group < groups_.all; ++group)
          interleave_group(t_.first_row + row, rows, group, column, columns);
        if (t_.float_out)
          for (int64_t i = 0; i < rows; ++i) run_floats(i, row + i, column, columns);
        else
          with_taps_of<V>(s_, is_bounded_, [&]<typename Taps>() {
            for (int64_t i = 0; i < rows; ++i) run_bytes<Taps>(i, row + i, column, columns);
          });
      }
    }
  }

 private:
  static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

  // Numbers of the panel's channels, in the order of its sums.
  template <typename T>
  void reorder(const T* from, T (&to)[V::kQuarters][V::kSums]) const {
    for (int q = 0; q < V::kQuarters; ++q)
      for (int i = 0; i < V::kSums; i += 4) {  // four in a row belong to neighbours
        const int64_t channel = V::channel_of(q, i);
        if (channel + 4 <= count_)
          std::memcpy(to[q] + i, from + channel, 4 * sizeof(T));
        else
          for (int j = 0; j < 4; ++j) to[q][i + j] = channel + j < count_ ? from[channel + j] : T{0};
      }
  }

  // A row of the image's pixels, from the first on, and how far they are apart.
  struct PixelRow {
    const uint8_t* x;
    int64_t step;
  };

  // The row-th of the rows that `outputs` rows of outputs see.
  PixelRow pixel_row(int64_t first_output, int64_t outputs, int64_t row, uint8_t* copy) const {
    const Int8DepthwiseAxis& rows = s_.rows;
    const int64_t at = first_output * rows.stride - rows.padding + row * rows.dilation;
    const bool is_seen = row < (outputs - 1) * rows.stride + rows.taps;
    if (!is_seen || at < 0 || at >= rows.size) return {t_.outside + first_, 0};
    const int64_t bytes = s_.columns.size * s_.channels;
    const uint8_t* x = t_.x + at * bytes;
    // Pixels of fewer channels than a panel: what is read of the last ones beyond the image must be memory, too.
    if (count_ < V::kChannels && (rows.size - at) * bytes < bytes + V::kChannels) {
      std::memcpy(copy, x, static_cast<size_t>(bytes));
      x = copy;
    }
    return {x + first_, s_.channels};
  }

  void interleave_group(int64_t first_output, int64_t outputs, int64_t group, int64_t first_column,
                        int64_t columns) const {
    PixelRow rows[V::kRows];
    for (int i = 0; i < V::kRows; ++i)
      rows[i] = pixel_row(first_output, outputs, V::kRows * group + i, rows_ + i * ScratchLayout<V>::row_bytes(s_));
    const int64_t begin = first_column * s_.columns.stride - s_.columns.padding,
                  end = begin + Tile<V>::seen_by(s_.columns, columns);
    const int64_t left = smaller(end, 0), inside = smaller(end, s_.columns.size);
    Ints* to = columns_ + group * tile_.columns * V::kQuarters;
    int64_t column = begin;
    to = surround(to, left - column);
    if (column < left) column = left;
    const uint8_t* x[V::kRows];
    int64_t step[V::kRows];
#pragma GCC unroll 4
    for (int i = 0; i < V::kRows; ++i) {
      step[i] = rows[i].step;
      x[i] = rows[i].x + column * step[i];
    }
    for (; column < inside; ++column, to += V::kQuarters) {
      V::interleave(x, to);
#pragma GCC unroll 4
      for (int i = 0; i < V::kRows; ++i) x[i] += step[i];
    }
    surround(to, end - column);
  }

  // Columns that are outside of the image.
  Ints* surround(Ints* to, int64_t columns) const {
    const uint8_t* x[V::kRows];
    for (const uint8_t*& of_row : x) of_row = t_.outside + first_;
    for (int64_t i = 0; i < columns; ++i, to += V::kQuarters) V::interleave(x, to);
    return to;
  }

  // Calls finish(block, sums) for the blocks of a quarter of a row, whose weights are those of the output-th of those
  // that see the same rows.
  template <typename Taps, typename Finish>
  [[gnu::always_inline]] void sum_quarter(int64_t output, int q, Ints start, int64_t blocks, Finish&& finish) const {
    const int64_t row_of_columns = tile_.columns * V::kQuarters;
    const Ints* weights = weights_ + (output * V::kQuarters + q) * groups_.used * s_.columns.taps;
    const Ints* at = columns_ + groups_.first(s_.rows, output) * row_of_columns + q;
    const int64_t step = kBlock * Taps::stride(s_) * V::kQuarters;
    for (int64_t block = 0; block < blocks; ++block, at += step) {
      Ints sums[kBlock] = {start, start, start, start};
      Taps::sum(s_, at, row_of_columns, weights, sums);
      finish(block, sums);
    }
  }

  template <typename Taps>
  [[gnu::always_inline]] void run_bytes(int64_t output, int64_t row, int64_t column, int64_t columns) const {
    const auto high = V::all(t_.high);
    const Ints zero_points = V::all_words(static_cast<int16_t>(t_.zero_point)),
               lowest = V::all_bytes(static_cast<uint8_t>(static_cast<int32_t>(t_.low) + t_.zero_point)),
               highest = V::all_bytes(static_cast<uint8_t>(static_cast<int32_t>(t_.high) + t_.zero_point));
    for (int q = 0; q < V::kQuarters; ++q) {
      const auto multiplier = V::load_floats(multiplier_[q]);
      Ints* to = quarters_ + q;
      const auto rounded = [&](Ints sums) __attribute__((always_inline)) {
        auto scaled = V::scaled(sums, multiplier);
        if constexpr (!Taps::kIsBounded) scaled = V::smaller_floats(scaled, high);
        return V::rounded(scaled);
      };
      const auto words = [&](Ints a, Ints b) __attribute__((always_inline)) {
        return V::add_words(V::words_of(rounded(a), rounded(b)), zero_points);
      };
      const auto finish = [&](int64_t, const Ints(&sums)[kBlock]) __attribute__((always_inline)) {
        const Ints bytes = V::bytes_of(words(sums[0], sums[1]), words(sums[2], sums[3]));
        V::store(to, V::larger_bytes(V::smaller_bytes(bytes, highest), lowest));
        to += V::kQuarters;
      };
      sum_quarter<Taps>(output, q, V::load(reinterpret_cast<const Ints*>(bias_[q])), blocks_of(columns), finish);
    }
    put_pixels(columns, static_cast<uint8_t*>(t_.y) + (row * s_.width + column) * s_.channels + first_);
  }

  void put_pixels(int64_t columns, uint8_t* y) const {
    const Ints* quarters = quarters_;
    const int64_t channels = s_.channels, count = count_;
    for (int64_t column = 0; column < columns; column += kBlock, quarters += V::kQuarters) {
      Ints pixels[kBlock];
      V::separate(quarters, pixels);
#pragma GCC unroll 4
      for (int p = 0; p < kBlock; ++p, y += channels)
        if (column + p < columns) V::store_pixel(y, pixels[p], count);
    }
  }

  // Few are wanted, of the last layers of parts that are quantized, and of layers that have a range for each image.
  [[gnu::noinline]] void run_floats(int64_t output, int64_t row, int64_t column, int64_t columns) const {
    float* y = static_cast<float*>(t_.y) + (row * s_.width + column) * s_.channels;
    for (int q = 0; q < V::kQuarters; ++q) {
      const auto finish = [&](int64_t block, const Ints(&sums)[kBlock]) {
        for (int64_t p = 0; p < smaller(kBlock, columns - block * kBlock); ++p) {
          alignas(64) int32_t of_pixel[V::kSums];
          V::store(reinterpret_cast<Ints*>(of_pixel), sums[p]);
          for (int i = 0; i < V::kSums; ++i) {
            const int64_t channel = first_ + V::channel_of(q, i);
            if (channel < first_ + count_)
              y[(block * kBlock + p) * s_.channels + channel] = depthwise_float(t_, channel, of_pixel[i]);
          }
        }
      };
      sum_quarter<AnyTaps<V>>(output, q, Ints{}, blocks_of(columns), finish);
    }
  }

  const Int8DepthwiseTask& t_;
  const Int8DepthwiseShape& s_;
  int64_t first_, count_;
  RowGroups<V> groups_;
  Tile<V> tile_;
  const Ints* weights_;
  // In scratch memory: interleaved rows [groups][columns][quarters], a row of outputs [blocks][quarters], and
  // copies of four rows.
  Ints *columns_, *quarters_;
  uint8_t* rows_;
  bool is_bounded_;  // sums times multipliers are in the range of int32
  // In the order of the sums.
  alignas(64) int32_t bias_[V::kQuarters][V::kSums];
  alignas(64) float multiplier_[V::kQuarters][V::kSums];
};

// f.operator()<V>(first, count) for panels that cover the channels: of the widest vectors, then one of the narrowest
// that hold what is left. It begins early enough to be whole, and some channels are computed twice, unless there are
// too few.
template <typename... Vs>
struct Panels;

template <typename V, typename... Narrower>
struct Panels<V, Narrower...> {
  static constexpr int64_t kWidest = V::kChannels;
  static_assert(V::kChannels <= kWidestDepthwisePanel);

  template <typename F>
  static void for_each(int64_t channels, F&& f) {
    int64_t first = 0;
    for (; channels - first >= kWidest; first += kWidest) f.template operator()<V>(first, kWidest);
    if (first < channels) last(channels, channels - first, f);
  }

  template <typename F>
  static void last(int64_t channels, int64_t left, F&& f) {
    if constexpr (sizeof...(Narrower) > 0)
      if (left <= Panels<Narrower...>::kWidest) return Panels<Narrower...>::last(channels, left, f);
    const int64_t count = channels < kWidest ? channels : kWidest;
    f.template operator()<V>(channels - count, count);
  }
};

template <typename AllPanels>
struct DepthwiseLoops {
  template <typename V>
  static int64_t weight_bytes(const Int8DepthwiseShape& s) {
    return DepthwisePanel<V>::registers_of_weights(s) * V::kRegisterBytes;
  }

  static int64_t packed_bytes(const Int8DepthwiseShape& s) {
    int64_t bytes = 0;
    AllPanels::for_each(s.channels, [&]<typename V>(int64_t, int64_t) { bytes += weight_bytes<V>(s); });
    return bytes;
  }

  static int64_t scratch_bytes(const Int8DepthwiseShape& s) {
    int64_t most = 0;
    AllPanels::for_each(s.channels, [&]<typename V>(int64_t, int64_t) {
      const int64_t bytes = ScratchLayout<V>(s, Tile<V>(s)).end;
      if (bytes > most) most = bytes;
    });
    return most;
  }

  static void pack(const Int8DepthwiseShape& s, const int8_t* weight, void* packed) {
    auto* to = static_cast<char*>(packed);
    AllPanels::for_each(s.channels, [&]<typename V>(int64_t first, int64_t count) {
      DepthwisePanel<V>::pack(s, weight + first * s.rows.taps * s.columns.taps, count, to);
      to += weight_bytes<V>(s);
    });
  }

  static void run(const Int8DepthwiseTask& t) {
    const auto* weights = static_cast<const char*>(t.weights);
    AllPanels::for_each(t.shape.channels, [&]<typename V>(int64_t first, int64_t count) {
      DepthwisePanel<V>(t, first, count, weights).run();
      weights += weight_bytes<V>(t.shape);
    });
  }

  static constexpr Int8DepthwiseTable kTable{packed_bytes, scratch_bytes, pack, run};
};

}  // namespace
}  // namespace thimble::kernels
