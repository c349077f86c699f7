// What tests of ops on strided arrays share.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/gradcheck.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/random.h>

namespace thimble {

/// Random numbers of `shape`, not contiguous where that is possible: stored with the dimensions in reverse order, every
/// second element of each, alternately forwards and backwards.
inline NDArray randn_view(const Shape& shape, Generator& generator, DType dtype = DType::float64) {
  Shape stored, order;
  for (int d = shape.ndim() - 1; d >= 0; --d) {
    stored.push_back(2 * shape[d] + 1);
    order.push_back(d);
  }
  NDArray view = randn(stored, generator, DType::float64).to(dtype).permute(order);
  for (int d = 0; d < shape.ndim(); ++d) {
    const int64_t n = shape[d];
    view = d % 2 == 0 ? view.slice(d, 1, 2 * n + 1, 2) : view.slice(d, 2 * n, 0, -2);
  }
  return view;
}

/// The same numbers contiguous, or as such a view, in turn.
inline std::vector<NDArray> randn_layouts(const Shape& shape, Generator& generator) {
  NDArray view = randn_view(shape, generator);
  return {view.clone(), view};
}

/// The element at `index`, whatever the strides.
inline double at(const NDArray& array, const Shape& index) {
  int64_t offset = 0;
  for (int d = 0; d < array.ndim(); ++d) offset += index[d] * array.strides()[d];
  return dispatch(array.dtype(),
                  [&](auto tag) { return static_cast<double>(array.data<typename decltype(tag)::type>()[offset]); });
}

/// Calls f with every index into `shape`, in row-major order.
inline void for_each_index(const Shape& shape, const std::function<void(const Shape&)>& f) {
  Shape index = Shape::filled(shape.ndim(), 0);
  for (int64_t i = 0, n = shape.numel(); i < n; ++i) {
    f(index);
    for (int d = shape.ndim() - 1; d >= 0 && ++index[d] == shape[d]; --d) index[d] = 0;
  }
}

/// Of the same shape and close relative to 1 + |expected|; infinities are the same.
inline void expect_close(const NDArray& got, const NDArray& expected, double tolerance) {
  ASSERT_EQ(got.shape(), expected.shape());
  const auto g = got.to_vector<double>(), e = expected.to_vector<double>();
  for (size_t i = 0; i < e.size(); ++i) {
    if (std::isinf(e[i]))
      ASSERT_EQ(g[i], e[i]) << "element " << i << " of " << got.shape();
    else
      ASSERT_NEAR(g[i], e[i], tolerance * (1 + std::abs(e[i]))) << "element " << i << " of " << got.shape();
  }
}

/// Checks first and second derivatives. A linear op's own second derivative is zero; squaring its output makes one that
/// runs through the gradient's gradient.
inline void check_gradients(const std::function<Tensor(const std::vector<Tensor>&)>& f,
                            const std::vector<NDArray>& inputs) {
  gradcheck(f, inputs);
  gradgradcheck(
      [&](const std::vector<Tensor>& x) {
        const Tensor y = f(x);
        return y * y;
      },
      inputs);
}

}  // namespace thimble
