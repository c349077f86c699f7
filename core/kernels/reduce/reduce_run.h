// What a reduction does to one run of elements.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace thimble::kernels {

namespace reducers {

// What is computed: every element goes through map(element, center), and the results are combined.
template <typename T>
struct Sum {
  static T identity() { return 0; }
  static T map(T x, T) { return x; }
  static T combine(T a, T b) { return a + b; }
};

template <typename T>
struct SquaredDeviations : Sum<T> {
  static T map(T x, T center) { return (x - center) * (x - center); }
};

template <typename T>
struct Exponentials : Sum<T> {
  static T map(T x, T center) { return std::exp(x - center); }
};

// The comparisons are written so that NaN on either side wins.
template <typename T>
struct Max {
  static T identity() { return -std::numeric_limits<T>::infinity(); }
  static T map(T x, T) { return x; }
  static T combine(T a, T b) { return a > b || a != a ? a : b; }
};

template <typename T>
struct Min {
  static T identity() { return std::numeric_limits<T>::infinity(); }
  static T map(T x, T) { return x; }
  static T combine(T a, T b) { return a < b || a != a ? a : b; }
};

}  // namespace reducers

// Dense runs are divided among this many independent chains, enough for the vector registers of any instruction set.
inline constexpr int64_t kLanes = 32;
// Chains up to this long are worked through in one loop, longer ones by halves.
inline constexpr int64_t kChain = 64;

template <typename R, typename T>
T reduce_short_run(const T* x, int64_t n, int64_t stride, T center) {
  T result = R::identity();
  for (int64_t i = 0; i < n; ++i) result = R::combine(result, R::map(x[i * stride], center));
  return result;
}

// A dense run in kLanes independent chains, which vectorizes, and whose chains are short and so lose few bits.
template <typename R, typename T>
T reduce_dense_run(const T* x, int64_t n, T center) {
  if (n < 2 * kLanes) return reduce_short_run<R>(x, n, 1, center);
  std::array<T, kLanes> lanes;
  for (int64_t l = 0; l < kLanes; ++l) lanes[l] = R::map(x[l], center);
  int64_t i = kLanes;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = R::combine(lanes[l], R::map(x[i + l], center));
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t l = 0; l < width; ++l) lanes[l] = R::combine(lanes[l], lanes[l + width]);
  return R::combine(lanes[0], reduce_short_run<R>(x + i, n - i, 1, center));
}

/// Reduces n elements that lie `stride` apart, pairwise.
template <typename R, typename T>
T reduce_run(const T* x, int64_t n, int64_t stride, T center) {
  if (stride == 1) {
    if (n <= kLanes * kChain) return reduce_dense_run<R>(x, n, center);
  } else if (n <= kChain) {
    return reduce_short_run<R>(x, n, stride, center);
  }
  const int64_t half = n / 2 / kLanes * kLanes;
  return R::combine(reduce_run<R>(x, half, stride, center), reduce_run<R>(x + half * stride, n - half, stride, center));
}

}  // namespace thimble::kernels
