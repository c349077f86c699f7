// The loops of depthwise_rows.h. Included by one source for each instruction set, which says what a vector V is, as in
// float_vectors.h.
#pragma once

#include <thimble/core/kernels/image/depthwise_rows.h>

namespace thimble::kernels {
namespace {

// A vector of channels, of which there may be only `count`.
template <typename V, bool kPartial>
struct Channels {
  using T = typename V::Value;
  using Register = typename V::Register;
  int count;

  [[gnu::always_inline]] Register load(const T* p) const { return kPartial ? V::load(p, count) : V::load(p); }
  [[gnu::always_inline]] void store(T* p, Register v) const {
    if (kPartial)
      V::store(p, v, count);
    else
      V::store(p, v);
  }
};

// Calls f(channels, c) for vectors of channels, which begin at c.
template <typename V, typename F>
[[gnu::always_inline]] inline void for_each_vector_of_channels(int64_t channels, F&& f) {
  int64_t c = 0;
  for (; c + V::kWidth <= channels; c += V::kWidth) f(Channels<V, false>{V::kWidth}, c);
  if (c < channels) f(Channels<V, true>{static_cast<int>(channels - c)}, c);
}

// kPixels sums of a row of kColumns taps, where a pixel's window begins kStride taps behind that of the one before:
// each input is loaded once.
template <typename V, int kColumns, int kStride, int kPixels, typename C>
[[gnu::always_inline]] inline void add_taps(const DepthwiseForward<typename V::Value>& t, C lanes,
                                            const typename V::Value* x, const typename V::Value* weight,
                                            typename V::Register* sums) {
  typename V::Register taps[kColumns];
#pragma GCC unroll 8
  for (int k = 0; k < kColumns; ++k) taps[k] = lanes.load(weight + k * t.weight_column);
#pragma GCC unroll 32
  for (int i = 0; i < (kPixels - 1) * kStride + kColumns; ++i) {
    const typename V::Register input = lanes.load(x + i * t.run.x_column);
#pragma GCC unroll 8
    for (int k = 0; k < kColumns; ++k)
      if (i >= k && (i - k) % kStride == 0 && (i - k) / kStride < kPixels)
        sums[(i - k) / kStride] = V::multiply_add(input, taps[k], sums[(i - k) / kStride]);
  }
}

// The same for any number of taps at any distance. Sums of a row's are made apart, since there may be very many.
template <typename V, int kPixels, typename C>
[[gnu::always_inline]] inline void add_any_taps(const DepthwiseForward<typename V::Value>& t, C lanes,
                                                const typename V::Value* x, const typename V::Value* weight,
                                                typename V::Register* sums) {
  typename V::Register row[kPixels];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) row[p] = V::zero();
  for (int64_t k = 0; k < t.run.columns; ++k) {
    const typename V::Register tap = lanes.load(weight + k * t.weight_column);
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p)
      row[p] = V::multiply_add(lanes.load(x + k * t.run.x_column + p * t.run.x_pixel), tap, row[p]);
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) sums[p] = V::add(sums[p], row[p]);
}

// What becomes of the sums of channels from c on, at `at` in y.
template <typename V, typename C>
[[gnu::always_inline]] inline void finish(const DepthwiseForward<typename V::Value>& t, C lanes, int64_t at,
                                          typename V::Register sum) {
  if (t.addend) sum = V::add(sum, lanes.load(t.addend + at));
  if (t.clamps) sum = V::min(V::broadcast(&t.upper), V::max(V::broadcast(&t.lower), sum));  // in this order NaN stays
  lanes.store(t.y + at, sum);
}

// kPixels pixels from number `pixel` on, all channels. kColumns is 0 for what add_taps() does not do.
template <typename V, int kColumns, int kStride, int kPixels>
void forward_pixels(const DepthwiseForward<typename V::Value>& t, int64_t pixel) {
  using T = typename V::Value;
  const T* x = t.run.x + pixel * t.run.x_pixel;
  const int64_t out = pixel * t.y_pixel;
  for_each_vector_of_channels<V>(
      t.run.channels, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
        typename V::Register sums[kPixels];
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) sums[p] = t.bias ? lanes.load(t.bias + c) : V::zero();
        for (int64_t row = 0; row < t.run.rows; ++row) {
          const T *from = x + row * t.run.x_row + c, *weight = t.weight + row * t.weight_row + c;
          if constexpr (kColumns > 0)
            add_taps<V, kColumns, kStride, kPixels>(t, lanes, from, weight, sums);
          else
            add_any_taps<V, kPixels>(t, lanes, from, weight, sums);
        }
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) finish<V>(t, lanes, out + p * t.y_pixel + c, sums[p]);
      });
}

// A single pixel, as those at the sides of an image are: four vectors of channels at a time, since of one each addition
// would wait for the one before. Returns how many channels that were.
template <typename V>
int64_t forward_pixel(const DepthwiseForward<typename V::Value>& t, int64_t pixel) {
  using T = typename V::Value;
  using Register = typename V::Register;
  constexpr int kVectors = 4;
  constexpr Channels<V, false> kLanes{V::kWidth};
  const T* x = t.run.x + pixel * t.run.x_pixel;
  int64_t c = 0;
  for (; c + kVectors * V::kWidth <= t.run.channels; c += kVectors * V::kWidth) {
    Register sums[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[v] = t.bias ? V::load(t.bias + c + v * V::kWidth) : V::zero();
    for (int64_t row = 0; row < t.run.rows; ++row) {
      const T *from = x + row * t.run.x_row + c, *weight = t.weight + row * t.weight_row + c;
      Register of_row[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) of_row[v] = V::zero();
      for (int64_t k = 0; k < t.run.columns; ++k, from += t.run.x_column, weight += t.weight_column)
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v)
          of_row[v] = V::multiply_add(V::load(from + v * V::kWidth), V::load(weight + v * V::kWidth), of_row[v]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[v] = V::add(sums[v], of_row[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) finish<V>(t, kLanes, pixel * t.y_pixel + c + v * V::kWidth, sums[v]);
  }
  return c;
}

template <typename V, int kColumns, int kStride>
void forward_run(const DepthwiseForward<typename V::Value>& t) {
  int64_t pixel = 0;
  for (; pixel + 4 <= t.run.pixels; pixel += 4) forward_pixels<V, kColumns, kStride, 4>(t, pixel);
  for (; pixel + 2 <= t.run.pixels; pixel += 2) forward_pixels<V, kColumns, kStride, 2>(t, pixel);
  if (pixel == t.run.pixels) return;
  DepthwiseForward<typename V::Value> rest = t;
  const int64_t done = forward_pixel<V>(t, pixel);
  rest.run.channels -= done;
  rest.run.x += done;
  rest.weight += done;
  rest.y += done;
  if (t.bias) rest.bias += done;
  if (t.addend) rest.addend += done;
  if (rest.run.channels > 0) forward_pixels<V, 0, 0, 1>(rest, pixel);
}

template <typename V>
void forward(const DepthwiseForward<typename V::Value>& t) {
  const int64_t columns = t.run.columns;
  const bool next = t.run.x_pixel == t.run.x_column, next_but_one = t.run.x_pixel == 2 * t.run.x_column;
  if (columns == 3 && next) return forward_run<V, 3, 1>(t);
  if (columns == 3 && next_but_one) return forward_run<V, 3, 2>(t);
  if (columns == 5 && next) return forward_run<V, 5, 1>(t);
  if (columns == 5 && next_but_one) return forward_run<V, 5, 2>(t);
  forward_run<V, 0, 0>(t);
}

// Sums of kRows x kColumns taps over all pixels, in kChains running sums each: enough that additions need not wait for
// each other.
template <typename V, int kRows, int kColumns, int kChains>
void add_weight_gradient(const DepthwiseWeightGradient<typename V::Value>& t, int64_t row, int64_t column) {
  using T = typename V::Value;
  using Register = typename V::Register;
  const DepthwiseRun<T>& run = t.run;
  for_each_vector_of_channels<V>(
      run.channels, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
        Register sums[kChains][kRows][kColumns];
#pragma GCC unroll 4
        for (int i = 0; i < kChains; ++i)
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
            for (int k = 0; k < kColumns; ++k) sums[i][r][k] = V::zero();
        const T *x = run.x + row * run.x_row + column * run.x_column + c, *dy = t.dy + c;
        auto add_pixel = [&](int i) __attribute__((always_inline)) {
          const Register gradient = lanes.load(dy + i * t.dy_pixel);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
            for (int k = 0; k < kColumns; ++k)
              sums[i][r][k] = V::multiply_add(lanes.load(x + i * run.x_pixel + r * run.x_row + k * run.x_column),
                                              gradient, sums[i][r][k]);
        };
        int64_t pixel = 0;
        for (; pixel + kChains <= run.pixels; pixel += kChains, x += kChains * run.x_pixel, dy += kChains * t.dy_pixel)
#pragma GCC unroll 4
          for (int i = 0; i < kChains; ++i) add_pixel(i);
        for (; pixel < run.pixels; ++pixel, x += run.x_pixel, dy += t.dy_pixel) add_pixel(0);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
          for (int k = 0; k < kColumns; ++k) {
#pragma GCC unroll 4
            for (int i = 1; i < kChains; ++i) sums[0][r][k] = V::add(sums[0][r][k], sums[i][r][k]);
            T* to = t.sums + (row + r) * t.sums_row + (column + k) * t.sums_column + c;
            lanes.store(to, V::add(lanes.load(to), sums[0][r][k]));
          }
      });
}

template <typename V>
void weight_gradient(const DepthwiseWeightGradient<typename V::Value>& t) {
  const int64_t rows = t.run.rows, columns = t.run.columns;
  if (rows == 3 && columns == 3) return add_weight_gradient<V, 3, 3, 1>(t, 0, 0);
  for (int64_t row = 0; row < rows; ++row) {
    if (columns == 3)
      add_weight_gradient<V, 1, 3, 2>(t, row, 0);
    else if (columns == 5)
      add_weight_gradient<V, 1, 5, 2>(t, row, 0);
    else
      for (int64_t column = 0; column < columns; ++column) add_weight_gradient<V, 1, 1, 4>(t, row, column);
  }
}

template <typename Float, typename Double>
constexpr DepthwiseTable kDepthwiseOf{{forward<Float>, weight_gradient<Float>},
                                      {forward<Double>, weight_gradient<Double>}};

}  // namespace
}  // namespace thimble::kernels
