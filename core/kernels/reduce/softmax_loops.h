// The loops of softmax_rows.h. Included by one source for each instruction set, which gives the size of its registers.
#pragma once

#include <thimble/core/kernels/reduce/row_lanes.h>
#include <thimble/core/kernels/reduce/softmax_rows.h>
#include <thimble/core/kernels/vector_math.h>

namespace thimble::kernels {
namespace {

template <int kBytes>
using SoftmaxLanes = RowLanes<kBytes, 16>;

// NaN is passed over: the exponentials see it.
template <int kBytes>
[[gnu::always_inline]] inline float max_of_row(const float* x, int64_t n) {
  using R = RowLanes<kBytes, kBytes>;  // four registers: the order does not matter
  using L = typename R::L;
  constexpr float kNone = -__builtin_inff();
  L most = L::each([](int) { return all<typename L::V>(kNone); });
  R::for_each(
      0, n, [&](int64_t i, int64_t count) __attribute__((always_inline)) {
        const L value = R::load(x + i, count, kNone);
        most = L::each([&](int v) { return value.v[v] > most.v[v] ? value.v[v] : most.v[v]; });
      });
  float values[kBytes];
  most.store(values);
  for (int width = kBytes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) values[i] = values[i] > values[i + width] ? values[i] : values[i + width];
  return values[0] + 0.0f;  // of two zeros, the order decides
}

// e^(x - max), 0 beyond the row.
template <int kBytes>
[[gnu::always_inline]] inline typename SoftmaxLanes<kBytes>::L exponentials(const float* x, int64_t count, float max) {
  using R = SoftmaxLanes<kBytes>;
  const auto value = R::load(x, count, -__builtin_inff());
  return R::L::each([&](int v) __attribute__((always_inline)) { return vector_exp(value.v[v] - max); });
}

template <int kBytes>
void softmax_row(const float* x, int64_t n, float* out) {
  using R = SoftmaxLanes<kBytes>;
  const float max = max_of_row<kBytes>(x, n);
  const float sum = R::sum(
      n, [=](int64_t i, int64_t count) __attribute__((always_inline)) {
        const auto e = exponentials<kBytes>(x + i, count, max);
        R::store(out + i, e, count);
        return e;
      });
  const float inverse = 1 / sum;
  for (int64_t i = 0; i < n; ++i) out[i] *= inverse;
}

template <int kBytes>
SoftmaxStatistics<float> softmax_statistics(const float* x, int64_t n) {
  const float max = max_of_row<kBytes>(x, n);
  return {max, SoftmaxLanes<kBytes>::sum(
                   n, [=](int64_t i, int64_t count)
                          __attribute__((always_inline)) { return exponentials<kBytes>(x + i, count, max); })};
}

template <int kBytes>
void log_softmax_row(const float* x, int64_t n, float max, float log_sum, float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] - max - log_sum;
}

template <int kBytes>
void softmax_gradient(const float* x, int64_t n, SoftmaxStatistics<float> s, float everywhere, float scale,
                      float* out) {
  using R = SoftmaxLanes<kBytes>;
  const float inverse = 1 / s.sum;
  R::for_each(
      0, n, [=](int64_t i, int64_t count) __attribute__((always_inline)) {
        const auto e = exponentials<kBytes>(x + i, count, s.max);
        R::store(out + i, R::L::each([&](int v) { return (e.v[v] * inverse - everywhere) * scale; }), count);
      });
}

template <int kBytes>
constexpr SoftmaxRows<float> softmax_rows() {
  return {softmax_row<kBytes>, softmax_statistics<kBytes>, log_softmax_row<kBytes>, softmax_gradient<kBytes>};
}

}  // namespace
}  // namespace thimble::kernels
