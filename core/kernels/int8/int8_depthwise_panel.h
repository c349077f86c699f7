// A panel of channels goes through an image. In an anonymous namespace for the reason given in int8_depthwise_loops.h.
//
// It takes three steps, for some rows of outputs and a tile of columns at a time:
//   1. Groups of four or two rows of the image are interleaved, column by column, which is what the products want. What
//      is outside of the image is put around it here. Several rows of outputs use the same groups, with weights of 0
//      for rows that they do not see. Of kernels of one row, a group is one row at several distances (FoldedTaps).
//   2. Quarter by quarter (int8_depthwise_vector.h), a row of outputs is summed up and made bytes, four columns at
//      once, with weights and parameters in registers.
//   3. Quarters become pixels.
// Where a group is of four rows, kernels of 3x3 need so few registers that all three are done at once, pixel by pixel.
#pragma once

#include <cstdint>
#include <cstring>

#include <thimble/core/kernels/int8/int8_depthwise_floats.h>
#include <thimble/core/kernels/int8/int8_depthwise_taps.h>
#include <thimble/core/kernels/int8/int8_depthwise_vector.h>

namespace thimble::kernels {
namespace {

// Channels [first, first + count) of a task, at most kChannels.
template <typename V>
class DepthwisePanel {
 public:
  using Ints = typename V::Ints;
  using Floats = typename V::Floats;

  DepthwisePanel(const Int8DepthwiseTask& task, int64_t first, int64_t count, const void* weights)
      : t_(task),
        taps_(task.shape, V::kRows),
        s_(taps_.shape()),
        first_(first),
        count_(count),
        groups_(s_.rows),
        tile_(s_),
        weights_(static_cast<const Ints*>(weights)) {
    auto* scratch = static_cast<uint8_t*>(t_.scratch);
    const ScratchLayout<V> layout(s_, taps_, tile_);
    row_bytes_ = layout.row_bytes;
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

  static int64_t scratch_bytes(const Int8DepthwiseShape& shape) {
    const FoldedTaps taps(shape, V::kRows);
    return ScratchLayout<V>(taps.shape(), taps, Tile<V>(taps.shape())).end;
  }

  static int64_t weight_bytes(const Int8DepthwiseShape& shape) {
    const FoldedTaps taps(shape, V::kRows);
    return weight_bytes(taps.shape(), RowGroups<V>(taps.shape().rows));
  }
  int64_t weight_bytes() const { return weight_bytes(s_, groups_); }

  // [rows of outputs][quarters][groups that they use][taps]
  static void pack(const Int8DepthwiseShape& kernel, const int8_t* weight, int64_t count, void* packed) {
    const FoldedTaps taps(kernel, V::kRows);
    const Int8DepthwiseShape& s = taps.shape();
    const int64_t columns = kernel.columns.taps;
    const RowGroups<V> groups(s.rows);
    auto* to = static_cast<typename V::Weight*>(packed);
    for (int64_t output = 0; output < groups.outputs; ++output)
      for (int q = 0; q < V::kQuarters; ++q)
        for (int64_t group = groups.first(s.rows, output), i = 0; i < groups.used; ++i, ++group)
          for (int64_t tap = 0; tap < s.columns.taps; ++tap)
            for (int sum = 0; sum < V::kSums; ++sum)
              for (int j = 0; j < V::kRows; ++j) {
                const int64_t channel = V::channel_of(q, sum);
                int64_t row = V::kRows * group + j - output * s.rows.stride, column = tap;
                if (taps.are_folded) {
                  column = V::kRows * tap + j;
                  row = 0;
                }
                const bool exists = channel < count && row >= 0 && row < kernel.rows.taps && column < columns;
                *to++ = exists ? weight[(channel * kernel.rows.taps + row) * columns + column] : 0;
              }
  }

  void run() const {
    if constexpr (V::kRows == 4) {
      const Int8DepthwiseAxis& columns = s_.columns;
      if (is_bounded_ && !t_.float_out && s_.rows.taps == 3 && columns.taps == 3 && columns.dilation == 1) {
        if (columns.stride == 1) return run_in_registers<1>();
        if (columns.stride == 2) return run_in_registers<2>();
      }
    }
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
  static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
  static int64_t weight_bytes(const Int8DepthwiseShape& s, const RowGroups<V>& groups) {
    return groups.outputs * V::kQuarters * groups.used * s.columns.taps * V::kRegisterBytes;
  }

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
  PixelRow pixel_row(int64_t first_output, int64_t outputs, int64_t row) const {
    const Int8DepthwiseAxis& rows = s_.rows;
    const int64_t at = first_output * rows.stride - rows.padding + row * rows.dilation;
    const bool is_seen = row < (outputs - 1) * rows.stride + rows.taps;
    if (!is_seen || at < 0 || at >= rows.size) return {t_.outside + first_, 0};
    return {t_.x + at * s_.columns.size * s_.channels + first_, s_.channels};
  }

  // Pixels of fewer channels than a panel: what is read of the last ones beyond the image must be memory, too. Columns
  // [first, last) will be read.
  void copy_if_last(PixelRow& row, int64_t first, int64_t last, uint8_t* copy) const {
    if (row.step == 0) return;
    first = larger(first, 0);
    last = smaller(last, s_.columns.size);
    const uint8_t* end = t_.x + s_.rows.size * s_.columns.size * s_.channels;
    if (first >= last || end - (row.x + (last - 1) * row.step) >= V::kChannels) return;
    std::memcpy(copy, row.x + first * row.step, static_cast<size_t>((last - first) * row.step));
    row.x = copy - first * row.step;
  }

  // The columns of the three rows that a row of outputs sees, one after the other.
  struct PixelColumns {
    const uint8_t *x[3], *outside;
    int64_t step[3], column, size;

    PixelColumns(const DepthwisePanel& panel, int64_t row)
        : outside(panel.t_.outside + panel.first_), column(-panel.s_.columns.padding), size(panel.s_.columns.size) {
      for (int i = 0; i < 3; ++i) {
        PixelRow of_row = panel.pixel_row(row, 1, i);
        if (panel.count_ < V::kChannels) panel.copy_if_last(of_row, 0, size, panel.rows_ + i * panel.row_bytes_);
        step[i] = of_row.step;
        x[i] = of_row.x + column * step[i];
      }
    }
    [[gnu::always_inline]] void next(Ints (&quarters)[V::kQuarters]) {
      if (column >= 0 && column < size)
        V::interleave({x[0], x[1], x[2], x[2]}, quarters);
      else
        V::interleave({outside, outside, outside, outside}, quarters);
      ++column;
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) x[i] += step[i];
    }
  };

  void interleave_group(int64_t first_output, int64_t outputs, int64_t group, int64_t first_column,
                        int64_t columns) const {
    const int64_t begin = first_column * s_.columns.stride - s_.columns.padding,
                  end = begin + Tile<V>::seen_by(s_.columns, columns);
    const int64_t reach = (V::kRows - 1) * taps_.shift;  // columns that a group's last row is ahead of its first
    PixelRow rows[V::kRows];
    for (int i = 0; i < V::kRows; ++i) {
      rows[i] = pixel_row(first_output, outputs, V::kRows * group + i);
      if (count_ < V::kChannels)
        copy_if_last(rows[i], begin, end + reach, rows_ + (taps_.are_folded ? 0 : i) * row_bytes_);
    }
    const int64_t left = larger(begin, smaller(end, 0)), right = larger(left, smaller(end, s_.columns.size - reach));
    Ints* to = columns_ + group * tile_.columns * V::kQuarters;
    to = interleave_edge(rows, begin, left, to);
    const uint8_t* x[V::kRows];
    int64_t step[V::kRows];
#pragma GCC unroll 4
    for (int i = 0; i < V::kRows; ++i) {
      step[i] = rows[i].step;
      x[i] = rows[i].x + (left + i * taps_.shift) * step[i];
    }
    for (int64_t column = left; column < right; ++column, to += V::kQuarters) {
      V::store_interleaved(x, to);
#pragma GCC unroll 4
      for (int i = 0; i < V::kRows; ++i) x[i] += step[i];
    }
    interleave_edge(rows, right, end, to);
  }

  // Columns of which all pixels are outside of the image, of folded taps some.
  Ints* interleave_edge(const PixelRow (&rows)[V::kRows], int64_t column, int64_t end, Ints* to) const {
    const uint8_t *outside = t_.outside + first_, *x[V::kRows];
    for (const uint8_t*& of_row : x) of_row = outside;
    if (!taps_.are_folded) {
      for (; column < end; ++column, to += V::kQuarters) V::store_interleaved(x, to);
      return to;
    }
    for (; column < end; ++column, to += V::kQuarters) {
      for (int i = 0; i < V::kRows; ++i) {
        const int64_t at = column + i * taps_.shift;
        x[i] = at >= 0 && at < s_.columns.size ? rows[i].x + at * rows[i].step : outside;
      }
      V::store_interleaved(x, to);
    }
    return to;
  }

  // Calls finish(block, sums) for the blocks of a quarter of a row, whose weights are those of the output-th of those
  // that see the same rows.
  template <typename Taps, typename Finish>
  [[gnu::always_inline]] void sum_quarter(int64_t output, int q, Ints start, int64_t blocks, Finish&& finish) const {
    const int64_t row_of_columns = tile_.columns * V::kQuarters, groups = groups_.used;
    const Ints* weights = weights_ + (output * V::kQuarters + q) * groups_.used * s_.columns.taps;
    const Ints* at = columns_ + groups_.first(s_.rows, output) * row_of_columns + q;
    const int64_t step = kBlock * Taps::stride(s_) * V::kQuarters;
    for (int64_t block = 0; block < blocks; ++block, at += step) {
      Ints sums[kBlock] = {start, start, start, start};
      Taps::sum(s_, groups, at, row_of_columns, weights, sums);
      finish(block, sums);
    }
  }

  template <typename Taps>
  [[gnu::always_inline]] void run_bytes(int64_t output, int64_t row, int64_t column, int64_t columns) const {
    const DepthwiseResults<V, Taps::kIsBounded> results(t_);
    for (int q = 0; q < V::kQuarters; ++q) {
      const Floats multiplier = V::load_floats(multiplier_[q]);
      Ints* to = quarters_ + q;
      const auto finish = [&](int64_t, const Ints(&sums)[kBlock]) __attribute__((always_inline)) {
        V::store(to, results(sums, {multiplier, multiplier, multiplier, multiplier}));
        to += V::kQuarters;
      };
      sum_quarter<Taps>(output, q, start_of(q), blocks_of(columns), finish);
    }
    put_pixels(columns, static_cast<uint8_t*>(t_.y) + (row * s_.width + column) * s_.channels + first_);
  }

  [[gnu::always_inline]] Ints start_of(int q) const { return V::load(reinterpret_cast<const Ints*>(bias_[q])); }

  // The same for kernels of 3x3, one row of outputs after the other, without memory in between: the columns that a
  // pixel sees, its sums and, where there are enough, the weights are registers.
  template <int kStride>
  [[gnu::noinline]] void run_in_registers() const {
    constexpr int kTaps = 3, kKept = kTaps - kStride;
    const DepthwiseResults<V, true> results(t_);
    Ints weights[V::kQuarters * kTaps];
#pragma GCC unroll 12
    for (int i = 0; i < V::kQuarters * kTaps; ++i) weights[i] = V::load(weights_ + i);
    auto* y = static_cast<uint8_t*>(t_.y) + first_;
    const int64_t width = s_.width, channels = s_.channels, count = count_;
    for (int64_t row = 0; row < t_.height; ++row) {
      PixelColumns pixels(*this, t_.first_row + row);
      Ints columns[kTaps][V::kQuarters];
#pragma GCC unroll 2
      for (int tap = kStride; tap < kTaps; ++tap) pixels.next(columns[tap]);
      for (int64_t pixel = 0; pixel < width; ++pixel, y += channels) {
#pragma GCC unroll 2
        for (int tap = 0; tap < kKept; ++tap)
#pragma GCC unroll 4
          for (int q = 0; q < V::kQuarters; ++q) columns[tap][q] = columns[tap + kStride][q];
#pragma GCC unroll 2
        for (int tap = kKept; tap < kTaps; ++tap) pixels.next(columns[tap]);
        Ints sums[V::kQuarters];
        Floats multipliers[V::kQuarters];
#pragma GCC unroll 4
        for (int q = 0; q < V::kQuarters; ++q) {
          sums[q] = start_of(q);
          multipliers[q] = V::load_floats(multiplier_[q]);
#pragma GCC unroll 3
          for (int tap = 0; tap < kTaps; ++tap)
            sums[q] = V::add_products(sums[q], columns[tap][q], weights[q * kTaps + tap]);
        }
        V::store_pixel(y, results(sums, multipliers), count);
      }
    }
  }

  void put_pixels(int64_t columns, uint8_t* y) const {
    const Ints* quarters = quarters_;
    const int64_t channels = s_.channels, count = count_;
    for (int64_t column = 0; column < columns; column += kBlock, quarters += V::kQuarters) {
      typename V::Pixel pixels[kBlock];
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
  const FoldedTaps taps_;
  const Int8DepthwiseShape& s_;
  int64_t first_, count_;
  RowGroups<V> groups_;
  Tile<V> tile_;
  const Ints* weights_;
  // In scratch memory: interleaved rows [groups][columns][quarters], a row of outputs [blocks][quarters], and copies of
  // a group's rows.
  Ints *columns_, *quarters_;
  uint8_t* rows_;
  int64_t row_bytes_;
  bool is_bounded_;  // sums times multipliers are in the range of int32
  // In the order of the sums.
  alignas(64) int32_t bias_[V::kQuarters][V::kSums];
  alignas(64) float multiplier_[V::kQuarters][V::kSums];
};

}  // namespace
}  // namespace thimble::kernels
