// The loops of min_max_rows.h. Included by one source for each instruction set, which gives the size of its registers.
// Comparisons with NaN are false, so a range never takes one in; that there was one is remembered beside.
#pragma once

#include <thimble/core/kernels/min_max_rows.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

// Ranges of several lanes, each its own.
template <typename L>
struct Ranges {
  using Mask = decltype(L{}.v[0] != L{}.v[0]);
  L low, high;
  Mask nan{};

  [[gnu::always_inline]] void widen(const L& x) {
    low = L::each([&](int i) { return x.v[i] < low.v[i] ? x.v[i] : low.v[i]; });
    high = L::each([&](int i) { return x.v[i] > high.v[i] ? x.v[i] : high.v[i]; });
#pragma GCC unroll 4
    for (const auto& v : x.v) nan |= v != v;
  }
  [[gnu::always_inline]] bool has_nan() const {
    int any = 0;
    for (int i = 0; i < static_cast<int>(sizeof(Mask) / sizeof(nan[0])); ++i) any |= nan[i];
    return any != 0;
  }
};

template <int kBytes>
bool row_loop(const float* x, int64_t n, float* min, float* max) {
  constexpr int kCount = kBytes / static_cast<int>(sizeof(float)), kWidth = 4 * kCount;
  using L = Lanes<float, kCount, 4>;
  float low = *min, high = *max;
  bool nan = false;
  int64_t i = 0;
  if (n >= kWidth) {
    Ranges<L> ranges{L::load(x), L::load(x)};
    for (; i + kWidth <= n; i += kWidth) ranges.widen(L::load(x + i));
    nan = ranges.has_nan();
    float lows[kWidth], highs[kWidth];
    ranges.low.store(lows);
    ranges.high.store(highs);
    for (int j = 0; j < kWidth; ++j) {
      low = lows[j] < low ? lows[j] : low;
      high = highs[j] > high ? highs[j] : high;
    }
  }
  for (; i < n; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
    nan |= x[i] != x[i];
  }
  *min = low;
  *max = high;
  return !nan;
}

template <int kBytes>
bool columns_loop(const float* x, int64_t rows, int64_t stride, int64_t n, float* min, float* max) {
  bool nan = false;
  for_each_group<float, kBytes>(
      n, [&](auto lanes, int64_t j) __attribute__((always_inline)) {
        using L = typename decltype(lanes)::type;
        Ranges<L> ranges{L::load(min + j), L::load(max + j)};
        for (int64_t r = 0; r < rows; ++r) ranges.widen(L::load(x + r * stride + j));
        ranges.low.store(min + j);
        ranges.high.store(max + j);
        nan |= ranges.has_nan();
      });
  return !nan;
}

template <int kBytes>
constexpr MinMaxRows min_max_rows() {
  return {row_loop<kBytes>, columns_loop<kBytes>};
}

}  // namespace
}  // namespace thimble::kernels
