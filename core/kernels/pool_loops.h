// The loops of pool_rows.h. Included by one source for each instruction set, which gives the size of its registers.
#pragma once

#include <thimble/core/kernels/pool_rows.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

template <typename T, typename Index, int kBytes>
void max_forward(const PoolRun& run, const T* x, T* y, Index* winners) {
  for (int64_t w = 0; w < run.windows; ++w) {
    const int64_t in = run.in_first + w * run.in_step, out = run.out_first + w * run.channels;
    for_each_vector<T, kBytes>(
        run.channels, [&](auto count, int64_t j) __attribute__((always_inline)) {
          constexpr int kCount = decltype(count)::value;
          Vector<T, kCount> best = load<kCount>(x + in + run.offsets[0] + j);
          auto winner = broadcast<kCount>(static_cast<MaskOf<T>>(run.numbers[0]));
          for (int64_t t = 1; t < run.taps; ++t) {
            const Vector<T, kCount> value = load<kCount>(x + in + run.offsets[t] + j);
            // Written so that NaN wins, as in PyTorch.
            const auto wins = (value > best) | (value != value);
            best = wins ? value : best;
            winner = wins ? broadcast<kCount>(static_cast<MaskOf<T>>(run.numbers[t])) : winner;
          }
          store(y + out + j, best);
          if (winners) store(winners + out + j, __builtin_convertvector(winner, Vector<Index, kCount>));
        });
  }
}

template <typename T, typename Index, int kBytes, bool kAdd>
void max_backward(const PoolRun& run, const T* dy, const Index* winners, T* dx) {
  for (int64_t w = 0; w < run.windows; ++w) {
    const int64_t in = run.in_first + w * run.in_step, out = run.out_first + w * run.channels;
    for_each_vector<T, kBytes>(
        run.channels, [&](auto count, int64_t j) __attribute__((always_inline)) {
          constexpr int kCount = decltype(count)::value;
          using Mask = Vector<MaskOf<T>, kCount>;
          const Vector<T, kCount> gradient = load<kCount>(dy + out + j);
          const Mask winner = __builtin_convertvector(load<kCount>(winners + out + j), Mask);
          for (int64_t t = 0; t < run.taps; ++t) {
            T* target = dx + in + run.offsets[t] + j;
            const Mask won = winner == static_cast<MaskOf<T>>(run.numbers[t]);
            const Vector<T, kCount> value = won ? gradient : Vector<T, kCount>{};
            store(target, kAdd ? load<kCount>(target) + value : value);
          }
        });
  }
}

template <typename T, int kBytes>
void average_forward(const PoolWindow& window, const T* x, T scale, T* y) {
  for_each_vector<T, kBytes>(
      window.channels, [&](auto count, int64_t j) __attribute__((always_inline)) {
        constexpr int kCount = decltype(count)::value;
        Vector<T, kCount> sum{};
        for (int64_t r = 0; r < window.rows; ++r)
          for (int64_t c = 0; c < window.columns; ++c)
            sum += load<kCount>(x + r * window.row_step + c * window.channels + j);
        store(y + j, sum * scale);
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
          {average_forward<double, kBytes>, average_backward<double, kBytes>}};
}

}  // namespace
}  // namespace thimble::kernels
