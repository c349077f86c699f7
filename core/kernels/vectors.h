// Vectors of a given number of elements, in the compiler's own notation: arithmetic, comparisons and ?: work element by
// element, and become instructions of whatever instruction set the including source is compiled for. Everything is
// forced inline, so that no two instruction sets share code.
#pragma once

#include <cstdint>
#include <type_traits>

namespace thimble::kernels {
namespace {

template <typename T, int kCount>
struct VectorOf {
  typedef T type __attribute__((vector_size(kCount * sizeof(T))));
};
template <typename T, int kCount>
using Vector = typename VectorOf<T, kCount>::type;

/// The integer as wide as T: what comparisons of vectors of T give, 0 or -1.
template <typename T>
using MaskOf = std::conditional_t<sizeof(T) == 1, int8_t, std::conditional_t<sizeof(T) == 4, int32_t, int64_t>>;

template <int kCount, typename T>
[[gnu::always_inline]] inline Vector<T, kCount> load(const T* p) {
  Vector<T, kCount> v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

template <typename T, typename V>
[[gnu::always_inline]] inline void store(T* p, const V& v) {
  __builtin_memcpy(p, &v, sizeof(v));
}

template <int kCount, typename T>
[[gnu::always_inline]] inline Vector<T, kCount> broadcast(T value) {
  return Vector<T, kCount>{} + value;
}

/// Calls f(constant, i) for n elements in groups: as many as a register of kBytes holds, then halves of it, down to
/// single ones. The constant says how many elements the group at i has.
template <typename T, int kBytes, typename F>
[[gnu::always_inline]] inline void for_each_vector(int64_t n, F&& f, int64_t i = 0) {
  constexpr int kCount = kBytes / static_cast<int>(sizeof(T));
  for (; i + kCount <= n; i += kCount) f(std::integral_constant<int, kCount>{}, i);
  if constexpr (kCount > 1)
    if (i < n) for_each_vector<T, kBytes / 2>(n, f, i);
}

/// A few vectors side by side.
template <typename T, int kCount, int kVectors>
struct Lanes {
  using V = Vector<T, kCount>;
  V v[kVectors];

  [[gnu::always_inline]] static Lanes load(const T* p) {
    return each([p](int i) { return thimble::kernels::load<kCount>(p + i * kCount); });
  }
  [[gnu::always_inline]] void store(T* p) const {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) thimble::kernels::store(p + i * kCount, v[i]);
  }
  /// f(0), f(1), ...
  template <typename F>
  [[gnu::always_inline]] static Lanes each(F&& f) {
    Lanes result;
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) result.v[i] = f(i);
    return result;
  }
};

template <typename T>
struct Type {
  using type = T;
};

/// Calls f(Type<Lanes>, i) for n elements: four registers' worth at a time, then as for_each_vector.
template <typename T, int kBytes, typename F>
[[gnu::always_inline]] inline void for_each_group(int64_t n, F&& f) {
  constexpr int kCount = kBytes / static_cast<int>(sizeof(T));
  int64_t i = 0;
  for (; i + 4 * kCount <= n; i += 4 * kCount) f(Type<Lanes<T, kCount, 4>>{}, i);
  for_each_vector<T, kBytes>(
      n,
      [&](auto count, int64_t j) __attribute__((always_inline)) { f(Type<Lanes<T, decltype(count)::value, 1>>{}, j); },
      i);
}

}  // namespace
}  // namespace thimble::kernels
