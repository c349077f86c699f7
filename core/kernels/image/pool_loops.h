// The loops of pool_rows.h. Included by one source for each instruction set, which gives the size of its registers.
#pragma once

#include <thimble/core/kernels/image/pool_rows.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

// kTaps is run.taps if the compiler is to know it, to keep them in registers, else 0.
template <typename T, typename Index, int kBytes, int kTaps, bool kWinners>
void max_windows(const PoolRun& run, const T* x, T* y, Index* winners) {
  const int64_t taps = kTaps > 0 ? kTaps : run.taps, channels = run.channels;
  const int64_t* offsets = run.offsets;
  const int32_t* numbers = run.numbers;
  for (int64_t w = 0; w < run.windows; ++w) {
    const int64_t in = run.in_first + w * run.in_step, out = run.out_first + w * channels;
    for_each_vector<T, kBytes>(
        channels, [&](auto count, int64_t j) __attribute__((always_inline)) {
          constexpr int kCount = decltype(count)::value;
          Vector<T, kCount> best = load<kCount>(x + in + offsets[0] + j);
          auto winner = broadcast<kCount>(static_cast<MaskOf<T>>(numbers[0]));
#pragma GCC unroll 4
          for (int64_t t = 1; t < taps; ++t) {
            const Vector<T, kCount> value = load<kCount>(x + in + offsets[t] + j);
            // Written so that NaN wins, as in PyTorch.
            if constexpr (kWinners) {
              const auto wins = (value > best) | (value != value);
              best = wins ? value : best;
              winner = wins ? broadcast<kCount>(static_cast<MaskOf<T>>(numbers[t])) : winner;
            } else {  // two comparisons that need no mask of their own are half as many instructions
              best = value > best ? value : best;
              best = value != value ? value : best;
            }
          }
          store(y + out + j, best);
          if constexpr (kWinners) store(winners + out + j, __builtin_convertvector(winner, Vector<Index, kCount>));
        });
  }
}

template <typename T, typename Index, int kBytes, bool kWinners>
void max_forward(const PoolRun& run, const T* x, T* y, Index* winners) {
  if (run.taps == 4)
    max_windows<T, Index, kBytes, 4, kWinners>(run, x, y, winners);
  else
    max_windows<T, Index, kBytes, 0, kWinners>(run, x, y, winners);
}

template <typename T, typename Index, int kBytes>
void max_forward(const PoolRun& run, const T* x, T* y, Index* winners) {
  if (winners)
    max_forward<T, Index, kBytes, true>(run, x, y, winners);
  else
    max_forward<T, Index, kBytes, false>(run, x, y, winners);
}

template <int kBytes>
void max_forward_bytes(const PoolRun& run, const uint8_t* x, uint8_t* y) {
  max_forward<uint8_t, uint8_t, kBytes, false>(run, x, y, nullptr);
}

template <typename T, typename Index, int kBytes, int kTaps, bool kAdd>
void max_windows_backward(const PoolRun& run, const T* dy, const Index* winners, T* dx) {
  const int64_t taps = kTaps > 0 ? kTaps : run.taps, channels = run.channels;
  const int64_t* offsets = run.offsets;
  const int32_t* numbers = run.numbers;
  for (int64_t w = 0; w < run.windows; ++w) {
    const int64_t in = run.in_first + w * run.in_step, out = run.out_first + w * channels;
    for_each_vector<T, kBytes>(
        channels, [&](auto count, int64_t j) __attribute__((always_inline)) {
          constexpr int kCount = decltype(count)::value;
          using Mask = Vector<MaskOf<T>, kCount>;
          const Vector<T, kCount> gradient = load<kCount>(dy + out + j);
          const Mask winner = __builtin_convertvector(load<kCount>(winners + out + j), Mask);
#pragma GCC unroll 4
          for (int64_t t = 0; t < taps; ++t) {
            T* target = dx + in + offsets[t] + j;
            const Mask won = winner == static_cast<MaskOf<T>>(numbers[t]);
            const Vector<T, kCount> value = won ? gradient : Vector<T, kCount>{};
            store(target, kAdd ? load<kCount>(target) + value : value);
          }
        });
  }
}

template <typename T, typename Index, int kBytes, bool kAdd>
void max_backward(const PoolRun& run, const T* dy, const Index* winners, T* dx) {
  if (run.taps == 4)
    max_windows_backward<T, Index, kBytes, 4, kAdd>(run, dy, winners, dx);
  else
    max_windows_backward<T, Index, kBytes, 0, kAdd>(run, dy, winners, dx);
}

// The sum of kCount channels over `rows` x `columns` pixels.
template <int kCount, typename T>
[[gnu::always_inline]] inline Vector<T, kCount> pixel_sum(const PoolWindow& window, const T* x, int64_t rows,
                                                          int64_t columns) {
  Vector<T, kCount> sum{};
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) sum += load<kCount>(x + r * window.row_step + c * window.channels);
  return sum;
}

// The same over the whole window, in parts: a running sum of millions of pixels would lose digits, and in the end no
// longer grow.
template <int kCount, typename T>
[[gnu::always_inline]] inline Vector<T, kCount> window_sum(const PoolWindow& window, const T* x) {
  constexpr int64_t kMostPixels = 4096;
  if (window.rows * window.columns <= kMostPixels) return pixel_sum<kCount>(window, x, window.rows, window.columns);
  const int64_t columns = window.columns < kMostPixels ? window.columns : kMostPixels, rows = kMostPixels / columns;
  Vector<T, kCount> sum{};
  for (int64_t r = 0; r < window.rows; r += rows)
    for (int64_t c = 0; c < window.columns; c += columns) {
      const int64_t rows_left = window.rows - r, columns_left = window.columns - c;
      sum += pixel_sum<kCount>(window, x + r * window.row_step + c * window.channels,
                               rows < rows_left ? rows : rows_left, columns < columns_left ? columns : columns_left);
    }
  return sum;
}

template <typename T, int kBytes>
void average_forward(const PoolWindow& window, const T* x, T scale, T* y) {
  for_each_vector<T, kBytes>(
      window.channels, [&](auto count, int64_t j) __attribute__((always_inline)) {
        store(y + j, window_sum<decltype(count)::value>(window, x + j) * scale);
      });
}

template <typename T, int kBytes>
void average_backward(const PoolWindow& window, const T* dy, T scale, T* dx) {
  for_each_vector<T, kBytes>(
      window.channels, [&](auto count, int64_t j) __attribute__((always_inline)) {
        constexpr int kCount = decltype(count)::value;
        const Vector<T, kCount> share = load<kCount>(dy + j) * scale;
        for (int64_t r = 0; r < window.rows; ++r)
          for (int64_t c = 0; c < window.columns; ++c) {
            T* target = dx + r * window.row_step + c * window.channels + j;
            store(target, load<kCount>(target) + share);
          }
      });
}

template <typename T, typename Index, int kBytes>
constexpr MaxPoolRows<T, Index> max_rows() {
  return {max_forward<T, Index, kBytes>, max_backward<T, Index, kBytes, true>, max_backward<T, Index, kBytes, false>};
}

template <int kBytes>
constexpr PoolTable pool_table() {
  return {max_rows<float, uint8_t, kBytes>(),
          max_rows<double, uint8_t, kBytes>(),
          max_rows<float, int32_t, kBytes>(),
          max_rows<double, int32_t, kBytes>(),
          {average_forward<float, kBytes>, average_backward<float, kBytes>},
          {average_forward<double, kBytes>, average_backward<double, kBytes>},
          max_forward_bytes<kBytes>};
}

}  // namespace
}  // namespace thimble::kernels
