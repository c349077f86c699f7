// The loops of batch_norm_rows.h. Included by one source for each instruction set, which gives the size of its
// registers. Each takes a few vectors of columns at a time, with what is per channel in registers, down all rows.
#pragma once

#include <thimble/core/kernels/image/batch_norm_rows.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

// (x - mean) * scale + shift: the same operations in the same order forwards and backwards, so that relu cuts off the
// same elements.
template <typename V>
[[gnu::always_inline]] inline V mapped(V x, V mean, V scale, V shift) {
  return (x - mean) * scale + shift;
}

template <typename T, int kBytes>
void add_sums(const BatchNormTile& t, const T* x, T* sums) {
  for_each_group<T, kBytes>(
      t.width, [&](auto lanes, int64_t j) __attribute__((always_inline)) {
        using L = typename decltype(lanes)::type;
        L sum = L::load(sums + j);
        for (int64_t r = 0; r < t.rows; ++r) {
          const L value = L::load(x + r * t.width + j);
          sum = L::each([&](int v) { return sum.v[v] + value.v[v]; });
        }
        sum.store(sums + j);
      });
}

template <typename T, int kBytes>
void add_squares(const BatchNormTile& t, const T* x, const T* centers, T* sums) {
  for_each_group<T, kBytes>(
      t.width, [&](auto lanes, int64_t j) __attribute__((always_inline)) {
        using L = typename decltype(lanes)::type;
        L sum = L::load(sums + j);
        const L center = L::load(centers + j);
        for (int64_t r = 0; r < t.rows; ++r) {
          const L value = L::load(x + r * t.width + j);
          sum = L::each([&](int v) {
            const auto deviation = value.v[v] - center.v[v];
            return sum.v[v] + deviation * deviation;
          });
        }
        sum.store(sums + j);
      });
}

template <typename T, int kBytes>
void map(const BatchNormTile& t, const T* x, const ChannelMap<T>& m, T* y) {
  for_each_group<T, kBytes>(
      t.width, [&](auto lanes, int64_t j) __attribute__((always_inline)) {
        using L = typename decltype(lanes)::type;
        const L mean = L::load(m.mean + j), scale = L::load(m.scale + j), shift = L::load(m.shift + j);
        for (int64_t r = 0; r < t.rows; ++r) {
          const L value = L::load(x + r * t.width + j);
          const L z = L::each([&](int v) { return mapped(value.v[v], mean.v[v], scale.v[v], shift.v[v]); });
          const L result = m.relu ? L::each([&](int v) { return z.v[v] < 0 ? typename L::V{} : z.v[v]; }) : z;
          result.store(y + r * t.width + j);
        }
      });
}

// dy where relu let z through, else 0.
template <typename L>
[[gnu::always_inline]] inline L through_relu(bool relu, const L& x, const L& dy, const L& mean, const L& scale,
                                             const L& shift) {
  if (!relu) return dy;
  return L::each(
      [&](int v) { return mapped(x.v[v], mean.v[v], scale.v[v], shift.v[v]) <= 0 ? typename L::V{} : dy.v[v]; });
}

template <typename T, int kBytes>
void add_gradients(const BatchNormTile& t, const T* x, const T* dy, const ChannelMap<T>& m, T* sums, T* products) {
  for_each_group<T, kBytes>(
      t.width, [&](auto lanes, int64_t j) __attribute__((always_inline)) {
        using L = typename decltype(lanes)::type;
        const L mean = L::load(m.mean + j), scale = L::load(m.scale + j), shift = L::load(m.shift + j);
        L sum = L::load(sums + j), product = L::load(products + j);
        for (int64_t r = 0; r < t.rows; ++r) {
          const L value = L::load(x + r * t.width + j);
          const L dz = through_relu(m.relu, value, L::load(dy + r * t.width + j), mean, scale, shift);
          sum = L::each([&](int v) { return sum.v[v] + dz.v[v]; });
          product = L::each([&](int v) { return product.v[v] + dz.v[v] * (value.v[v] - mean.v[v]); });
        }
        sum.store(sums + j);
        product.store(products + j);
      });
}

template <typename T, int kBytes>
void input_gradient(const BatchNormTile& t, const T* x, const T* dy, const ChannelMap<T>& m, const T* offsets,
                    const T* slopes, T* dx) {
  for_each_group<T, kBytes>(
      t.width, [&](auto lanes, int64_t j) __attribute__((always_inline)) {
        using L = typename decltype(lanes)::type;
        const L mean = L::load(m.mean + j), scale = L::load(m.scale + j), shift = L::load(m.shift + j);
        const L offset = L::load(offsets + j), slope = L::load(slopes + j);
        for (int64_t r = 0; r < t.rows; ++r) {
          const L value = L::load(x + r * t.width + j);
          const L dz = through_relu(m.relu, value, L::load(dy + r * t.width + j), mean, scale, shift);
          L::each([&](int v) {
            return (dz.v[v] - offset.v[v] - (value.v[v] - mean.v[v]) * slope.v[v]) * scale.v[v];
          }).store(dx + r * t.width + j);
        }
      });
}

template <typename T, int kBytes>
constexpr BatchNormRows<T> batch_norm_rows() {
  return {add_sums<T, kBytes>, add_squares<T, kBytes>, map<T, kBytes>, add_gradients<T, kBytes>,
          input_gradient<T, kBytes>};
}

template <int kBytes>
constexpr BatchNormTable batch_norm_table() {
  return {batch_norm_rows<float, kBytes>(), batch_norm_rows<double, kBytes>()};
}

}  // namespace
}  // namespace thimble::kernels
