// The loops of min_max_rows.h. Included by one source for each instruction set, which gives the size of its registers.
// Comparisons with NaN are false, so a range never takes one in; that there was one is remembered beside.
#pragma once

#include <thimble/core/kernels/reduce/min_max_rows.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

// Ranges of several lanes, each its own.
template <typename L>
struct Ranges {
  using Mask = decltype(L{}.v[0] != L{}.v[0]);
  L low, high;
  Mask nan{};

  [[gnu::always_inline]] void widen(const L& x) { widen(x, x); }
  [[gnu::always_inline]] void widen(const L& lows, const L& highs) {
    low = L::each([&](int i) { return lows.v[i] < low.v[i] ? lows.v[i] : low.v[i]; });
    high = L::each([&](int i) { return highs.v[i] > high.v[i] ? highs.v[i] : high.v[i]; });
#pragma GCC unroll 4
    for (const auto& v : lows.v) nan |= v != v;
  }
  [[gnu::always_inline]] bool has_nan() const {
    int any = 0;
    for (int i = 0; i < static_cast<int>(sizeof(Mask) / sizeof(nan[0])); ++i) any |= nan[i];
    return any != 0;
  }
};

[[gnu::always_inline]] inline float smaller(float a, float b) { return a < b ? a : b; }
[[gnu::always_inline]] inline float larger(float a, float b) { return a > b ? a : b; }

// Rows are often short, those of a convolution's weights above all.
template <int kBytes>
bool row_loop(const float* x, int64_t n, float* min, float* max) {
  constexpr int kCount = kBytes / static_cast<int>(sizeof(float));
  using One = Lanes<float, kCount, 1>;
  using Four = Lanes<float, kCount, 4>;
  float low = *min, high = *max;
  bool nan = false;
  int64_t i = 0;
  if (n >= kCount) {
    Ranges<One> one{One::load(x), One::load(x)};
    if (n >= 4 * kCount) {
      Ranges<Four> four{Four::load(x), Four::load(x)};
      for (; i + 4 * kCount <= n; i += 4 * kCount) four.widen(Four::load(x + i));
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) one.widen(One{{four.low.v[v]}}, One{{four.high.v[v]}});
      one.nan |= four.nan;
    }
    for (; i + kCount <= n; i += kCount) one.widen(One::load(x + i));
    nan = one.has_nan();
    float lows[kCount], highs[kCount];
    one.low.store(lows);
    one.high.store(highs);
    for (int width = kCount / 2; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) {
        lows[j] = smaller(lows[j + width], lows[j]);
        highs[j] = larger(highs[j + width], highs[j]);
      }
    low = smaller(lows[0], low);
    high = larger(highs[0], high);
  }
  for (; i < n; ++i) {
    low = smaller(x[i], low);
    high = larger(x[i], high);
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
