// Arrays of random bits, and their comparison bit by bit.
#pragma once

#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/ndarray.h>

namespace thimble {

inline std::string bytes_of(const NDArray& array) {
  const NDArray dense = array.contiguous();
  return {static_cast<const char*>(dense.raw()), static_cast<size_t>(dense.nbytes())};
}

inline void expect_same(const NDArray& got, const NDArray& expected, const std::string& name) {
  EXPECT_EQ(got.dtype(), expected.dtype()) << name;
  EXPECT_EQ(got.shape(), expected.shape()) << name;
  EXPECT_EQ(bytes_of(got), bytes_of(expected)) << name;
}

inline void expect_same(const NamedArrays& got, const NamedArrays& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].first, expected[i].first);
    expect_same(got[i].second, expected[i].second, expected[i].first);
  }
}

/// Any bits that the dtype can have, NaNs included.
inline NDArray random_array(const Shape& shape, DType dtype, std::mt19937& random) {
  NDArray out(shape, dtype);
  const unsigned mask = dtype == DType::bool_ ? 1 : 255;
  for (int64_t i = 0; i < out.nbytes(); ++i)
    static_cast<uint8_t*>(out.raw())[i] = static_cast<uint8_t>(random() & mask);
  return out;
}

/// A view of the array: another order of the dimensions, a part of it, or it repeated.
inline NDArray random_view(NDArray array, std::mt19937& random) {
  if (array.ndim() == 0) return array;
  const int axis = static_cast<int>(random() % static_cast<unsigned>(array.ndim()));
  switch (random() % 4) {
    case 0:
      return array.transpose(0, axis);
    case 1:
      return array.slice(axis, 0, array.shape(axis), 2);
    case 2:
      return array.slice(axis, array.shape(axis), -1 - array.shape(axis), -1);
    default: {
      Shape wider = array.shape();
      wider.insert(0, 3);
      return array.broadcast_to(wider);
    }
  }
}

}  // namespace thimble
