// The loops of normalize_rows.h. Included by one source for each instruction set, which gives the size of its
// registers.
#pragma once

#include <thimble/core/kernels/reduce/normalize_rows.h>
#include <thimble/core/kernels/reduce/row_lanes.h>

namespace thimble::kernels {
namespace {

// Enough that additions do not wait for one another.
constexpr int kNormalizeLanes = 32;

template <int kBytes>
float row_sum(const float* x, int64_t n) {
  return sum_in_row<kBytes, kNormalizeLanes>(
      n, [=](auto group, int64_t i, int64_t count)
             __attribute__((always_inline)) { return load_group<typename decltype(group)::type>(x + i, count, 0); });
}

template <int kBytes>
float row_squared_deviations(const float* x, int64_t n, float center) {
  return sum_in_row<kBytes, kNormalizeLanes>(
      n, [=](auto group, int64_t i, int64_t count) __attribute__((always_inline)) {
        using L = typename decltype(group)::type;
        const L value = load_group<L>(x + i, count, center);
        return L::each([&](int v) __attribute__((always_inline)) {
          const auto deviation = value.v[v] - center;
          return deviation * deviation;
        });
      });
}

template <int kBytes>
float row_products(const float* a, const float* b, int64_t n) {
  return sum_in_row<kBytes, kNormalizeLanes>(
      n, [=](auto group, int64_t i, int64_t count) __attribute__((always_inline)) {
        using L = typename decltype(group)::type;
        const L u = load_group<L>(a + i, count, 0), w = load_group<L>(b + i, count, 0);
        return L::each([&](int v) __attribute__((always_inline)) { return u.v[v] * w.v[v]; });
      });
}

inline void row_map(const float* x, int64_t n, float center, float scale, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - center) * scale;
}

inline void row_affine_map(const float* x, int64_t n, float center, float scale, const float* weight, const float* bias,
                           float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - center) * scale * weight[i] + bias[i];
}

inline void row_gradient(const float* y, const float* dy, int64_t n, float offset, float along, float scale,
                         float* __restrict dx) {
  for (int64_t i = 0; i < n; ++i) dx[i] = (dy[i] - offset - y[i] * along) * scale;
}

template <int kBytes>
constexpr NormalizeRows<float> normalize_rows_of() {
  return {row_sum<kBytes>, row_squared_deviations<kBytes>, row_products<kBytes>, row_map, row_affine_map, row_gradient};
}

}  // namespace
}  // namespace thimble::kernels
