// Rows of floats in vectors, for sums with an order of their own: lane i % kLanes of a fixed number of lanes takes
// element i, whatever the size of registers, and lanes are added by halves. So every instruction set gives the same
// bits.
#pragma once

#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

template <int kBytes, int kLanes>
struct RowLanes {
  static constexpr int kCount = kBytes / static_cast<int>(sizeof(float));
  using L = Lanes<float, kCount, kLanes / kCount>;

  /// The first n of kLanes elements, then `rest`.
  [[gnu::always_inline]] static L load(const float* p, int64_t n, float rest) {
    if (n == kLanes) return L::load(p);
    float values[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) values[i] = i < n ? p[i] : rest;
    return L::load(values);
  }

  /// The first n of them.
  [[gnu::always_inline]] static void store(float* p, const L& lanes, int64_t n) {
    if (n == kLanes) return lanes.store(p);
    float values[kLanes];
    lanes.store(values);
    for (int64_t i = 0; i < n; ++i) p[i] = values[i];
  }

  /// f(i, count) for the groups of kLanes elements in [begin, end), the last of which may have fewer.
  template <typename F>
  [[gnu::always_inline]] static void for_each(int64_t begin, int64_t end, F&& f) {
    for (; begin + kLanes <= end; begin += kLanes) f(begin, int64_t{kLanes});
    if (begin < end) f(begin, end - begin);
  }

  [[gnu::always_inline]] static L add(const L& a, const L& b) {
    return L::each([&](int v) __attribute__((always_inline)) { return a.v[v] + b.v[v]; });
  }

  /// The sum of term(i, count), a group's terms, 0 where there is no element. Parts of a few thousand terms are added
  /// in float64, so that a long row loses no digits.
  template <typename Term>
  [[gnu::always_inline]] static float sum(int64_t n, Term&& term) {
    constexpr int64_t kPart = 64 * kLanes;
    double total = 0;
    for (int64_t part = 0; part < n; part += kPart) {
      L lanes{};
      for_each(
          part, part + kPart < n ? part + kPart : n, [&](int64_t i, int64_t count) __attribute__((always_inline)) {
            lanes = add(lanes, term(i, count));
          });
      total += static_cast<double>(sum_of(lanes));
    }
    return static_cast<float>(total);
  }

 private:
  [[gnu::always_inline]] static float sum_of(const L& lanes) {
    float values[kLanes];
    lanes.store(values);
    add_halves<kLanes / 2>(values);
    return values[0];
  }

  template <int kWidth>
  [[gnu::always_inline]] static void add_halves(float* values) {
    constexpr int kSize = kWidth < kCount ? kWidth : kCount;
    for (int i = 0; i < kWidth; i += kSize)
      kernels::store(values + i, kernels::load<kSize>(values + i) + kernels::load<kSize>(values + i + kWidth));
    if constexpr (kWidth > 1) add_halves<kWidth / 2>(values);
  }
};

}  // namespace
}  // namespace thimble::kernels
