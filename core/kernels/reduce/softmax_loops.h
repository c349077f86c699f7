// The loops of softmax_rows.h. Included by one source for each instruction set, which gives the size of its registers.
#pragma once

#include <thimble/core/kernels/reduce/row_lanes.h>
#include <thimble/core/kernels/reduce/softmax_rows.h>
#include <thimble/core/kernels/vector_math.h>

namespace thimble::kernels {
namespace {

constexpr int kSoftmaxLanes = 16;

// NaN is passed over: the exponentials see it.
template <int kBytes>
[[gnu::always_inline]] inline float max_of_row(const float* x, int64_t n) {
  constexpr int kCount = kBytes / static_cast<int>(sizeof(float));
  using One = Lanes<float, kCount, 1>;
  using Four = Lanes<float, kCount, 4>;
  constexpr float kNone = -__builtin_inff();
  const auto larger = [](const auto& a, const auto& b) __attribute__((always_inline)) { return a > b ? a : b; };
  One most{{all<Vector<float, kCount>>(kNone)}};
  FourLanes rest{{all<Vector<float, 4>>(kNone)}};
  int64_t i = 0;
  if (n >= 4 * kCount) {
    Four four = Four::each([&](int) __attribute__((always_inline)) { return most.v[0]; });
    for (; i + 4 * kCount <= n; i += 4 * kCount) {
      const Four value = Four::load(x + i);
      four = Four::each([&](int v) __attribute__((always_inline)) { return larger(value.v[v], four.v[v]); });
    }
    most.v[0] = larger(larger(four.v[0], four.v[1]), larger(four.v[2], four.v[3]));
  }
  for_each_in_row<One>(
      i, n, [&](auto group, int64_t at, int64_t count) __attribute__((always_inline)) {
        using L = typename decltype(group)::type;
        const auto value = load_group<L>(x + at, count, kNone).v[0];
        if constexpr (sizeof(L) == sizeof(One))
          most.v[0] = larger(value, most.v[0]);
        else
          rest.v[0] = larger(value, rest.v[0]);
      });
  const float of_rest = folded(rest.v[0], larger);
  const float max = kCount > 4 && n < kCount ? of_rest : larger(folded(most.v[0], larger), of_rest);
  return max + 0.0f;  // of two zeros, the order decides
}

// e^(x - max), 0 beyond the row.
template <typename L>
[[gnu::always_inline]] inline L exponentials(const float* x, int64_t count, float max) {
  const L value = load_group<L>(x, count, -__builtin_inff());
  return L::each([&](int v) __attribute__((always_inline)) { return vector_exp(value.v[v] - max); });
}

template <int kBytes>
void softmax_row(const float* x, int64_t n, float* out) {
  const float max = max_of_row<kBytes>(x, n);
  const float sum = sum_in_row<kBytes, kSoftmaxLanes>(
      n, [=](auto group, int64_t i, int64_t count) __attribute__((always_inline)) {
        const auto e = exponentials<typename decltype(group)::type>(x + i, count, max);
        store_group(out + i, e, count);
        return e;
      });
  const float inverse = 1 / sum;
  for_each_in_row<RowLanes<kBytes, kSoftmaxLanes>>(
      0, n, [=](auto group, int64_t i, int64_t count) __attribute__((always_inline)) {
        using L = typename decltype(group)::type;
        const L e = load_group<L>(out + i, count, 0);
        store_group(out + i, L::each([&](int v) __attribute__((always_inline)) { return e.v[v] * inverse; }), count);
      });
}

template <int kBytes>
SoftmaxStatistics<float> softmax_statistics(const float* x, int64_t n) {
  const float max = max_of_row<kBytes>(x, n);
  return {max, sum_in_row<kBytes, kSoftmaxLanes>(
                   n, [=](auto group, int64_t i, int64_t count) __attribute__((always_inline)) {
                     return exponentials<typename decltype(group)::type>(x + i, count, max);
                   })};
}

template <int kBytes>
void log_softmax_row(const float* x, int64_t n, float max, float log_sum, float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] - max - log_sum;
}

template <int kBytes>
void softmax_gradient(const float* x, int64_t n, SoftmaxStatistics<float> s, float everywhere, float scale,
                      float* out) {
  const float inverse = 1 / s.sum;
  for_each_in_row<RowLanes<kBytes, kSoftmaxLanes>>(
      0, n, [=](auto group, int64_t i, int64_t count) __attribute__((always_inline)) {
        using L = typename decltype(group)::type;
        const L e = exponentials<L>(x + i, count, s.max);
        const auto gradient = [&](int v) __attribute__((always_inline)) {
          return (e.v[v] * inverse - everywhere) * scale;
        };
        store_group(out + i, L::each(gradient), count);
      });
}

template <int kBytes>
constexpr SoftmaxRows<float> softmax_rows() {
  return {softmax_row<kBytes>, softmax_statistics<kBytes>, log_softmax_row<kBytes>, softmax_gradient<kBytes>};
}

}  // namespace
}  // namespace thimble::kernels
