// Rows of floats in vectors, for sums with an order of their own: whatever the size of registers, kLanes lanes take
// kLanes elements at a time, and four what is left. So every instruction set gives the same bits.
#pragma once

#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

/// A vector's lanes, combined by halves.
template <typename V, typename Combine>
[[gnu::always_inline]] inline float folded(const V& v, Combine&& combine) {
  constexpr int kHalf = static_cast<int>(sizeof(V) / sizeof(float)) / 2;
  if constexpr (kHalf == 0) {
    return v[0];
  } else {
    Vector<float, kHalf> low, high;
    __builtin_memcpy(&low, &v, sizeof(low));
    __builtin_memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof(low), sizeof(high));
    return folded(combine(low, high), combine);
  }
}

using FourLanes = Lanes<float, 4, 1>;

/// The first n of a group's elements, then `rest`. Only four may be fewer than they are.
template <typename L>
[[gnu::always_inline]] inline L load_group(const float* p, int64_t n, float rest) {
  constexpr int kSize = static_cast<int>(sizeof(L) / sizeof(float));
  if constexpr (kSize == 4)
    if (n < kSize)
      return L::each([&](int) __attribute__((always_inline)) {
        return typename L::V{p[0], n > 1 ? p[1] : rest, n > 2 ? p[2] : rest, rest};
      });
  return L::load(p);
}

/// The first n of them.
template <typename L>
[[gnu::always_inline]] inline void store_group(float* p, const L& group, int64_t n) {
  constexpr int kSize = static_cast<int>(sizeof(L) / sizeof(float));
  if (kSize > 4 || n == kSize) return group.store(p);
  p[0] = group.v[0][0];
  if (n > 1) p[1] = group.v[0][1];
  if (n > 2) p[2] = group.v[0][2];
}

/// f(Type<group>, i, count) for [begin, end): groups of type L, then of four, the last of which may have fewer
/// elements.
template <typename L, typename F>
[[gnu::always_inline]] inline void for_each_in_row(int64_t begin, int64_t end, F&& f) {
  constexpr int kLanes = static_cast<int>(sizeof(L) / sizeof(float));
  for (; begin + kLanes <= end; begin += kLanes) f(Type<L>{}, begin, int64_t{kLanes});
  for (; begin + 4 <= end; begin += 4) f(Type<FourLanes>{}, begin, int64_t{4});
  if (begin < end) f(Type<FourLanes>{}, begin, end - begin);
}

template <int kBytes, int kLanes>
using RowLanes =
    Lanes<float, kBytes / static_cast<int>(sizeof(float)), kLanes* static_cast<int>(sizeof(float)) / kBytes>;

/// The sum of term(Type<group>, i, count), a group's terms, 0 where there is no element. Parts of a few thousand terms
/// are added in float64, so that a long row loses no digits.
template <int kBytes, int kLanes, typename Term>
[[gnu::always_inline]] inline float sum_in_row(int64_t n, Term&& term) {
  using L = RowLanes<kBytes, kLanes>;
  constexpr int64_t kPart = 64 * kLanes;
  const auto plus = [](auto a, auto b) __attribute__((always_inline)) { return a + b; };
  double total = 0;
  for (int64_t part = 0; part < n; part += kPart) {
    const int64_t end = part + kPart < n ? part + kPart : n;
    L sums{};
    FourLanes rest{};
    for_each_in_row<L>(
        part, end, [&](auto group, int64_t i, int64_t count) __attribute__((always_inline)) {
          const auto terms = term(group, i, count);
          if constexpr (sizeof(terms) == sizeof(L))
            sums = L::each([&](int v) __attribute__((always_inline)) { return sums.v[v] + terms.v[v]; });
          else
            rest.v[0] += terms.v[0];
        });
    float sum = folded(rest.v[0], plus);
    if (end - part >= kLanes) {
#pragma GCC unroll 8
      for (int width = static_cast<int>(sizeof(L)) / kBytes / 2; width > 0; width /= 2)
#pragma GCC unroll 8
        for (int v = 0; v < width; ++v) sums.v[v] += sums.v[v + width];
      sum += folded(sums.v[0], plus);
    }
    total += static_cast<double>(sum);
  }
  return static_cast<float>(total);
}

}  // namespace
}  // namespace thimble::kernels
