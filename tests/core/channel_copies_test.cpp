// Copies of some channels of each pixel, and of channels in another order.
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/ndarray.h>
#include <thimble/core/parallel.h>

namespace thimble {
namespace {

// Whose bytes are all different from their neighbours', whatever the dtype.
NDArray random_elements(const Shape& shape, DType dtype) {
  std::mt19937 rng(static_cast<uint32_t>(shape.numel()));
  std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
  for (int64_t& v : values) v = rng() % 251;
  return NDArray::from_vector(values, shape).to(dtype);
}

// Element by element: no view of one element is copied as a row.
std::vector<double> one_by_one(const NDArray& x) {
  std::vector<double> values;
  for (int64_t i = 0; i < x.shape(0); ++i)
    for (int64_t j = 0; j < x.shape(1); ++j)
      for (int64_t k = 0; k < x.shape(2); ++k)
        values.push_back(x.slice(0, i, i + 1).slice(1, j, j + 1).slice(2, k, k + 1).reshape({}).item<double>());
  return values;
}

TEST(ChannelCopies, SomeChannelsOfEachPixel) {
  for (const DType dtype : {DType::uint8, DType::bfloat16, DType::float32, DType::float64})
    for (const int64_t channels : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 100, 515}) {
      const NDArray pixels = random_elements({2, 3, channels + 2}, dtype);
      const NDArray some = pixels.slice(2, 1, channels + 1);
      const std::vector<double> expected = one_by_one(some);
      ASSERT_EQ(some.contiguous().to_vector<double>(), expected) << dtype << ' ' << channels;
      // To where there are others, which stay.
      NDArray target = NDArray::full({2, 3, channels + 4}, 3, dtype);
      NDArray part = target.slice(2, 2, channels + 2);
      part.copy_from(some);
      ASSERT_EQ(one_by_one(part), expected) << dtype << ' ' << channels;
      for (const int64_t i : {int64_t{0}, int64_t{1}, channels + 2, channels + 3})
        ASSERT_EQ(one_by_one(target.slice(2, i, i + 1)), std::vector<double>(6, 3)) << dtype << ' ' << channels;
    }
}

TEST(ChannelCopies, ShuffledGroups) {
  const int threads = num_threads();
  for (const DType dtype : {DType::uint8, DType::bfloat16, DType::float32, DType::float64})
    for (const int64_t groups : {2, 3, 4, 6})
      for (const int64_t each : {1, 2, 3, 7, 8, 15, 16, 17, 33, 58, 600}) {
        const NDArray shuffled = random_elements({5, groups, each}, dtype).transpose(1, 2);
        const std::vector<double> expected = one_by_one(shuffled);
        for (const int n : {1, 3}) {
          set_num_threads(n);
          ASSERT_EQ(shuffled.contiguous().to_vector<double>(), expected) << dtype << ' ' << groups << " x " << each;
        }
      }
  set_num_threads(threads);
}

TEST(ChannelCopies, TransposedMatricesOfEveryWidth) {
  for (const DType dtype : {DType::uint8, DType::bfloat16, DType::float32, DType::float64})
    for (const int64_t rows : {1, 3, 4, 7, 8, 9, 16, 21, 70})
      for (const int64_t columns : {1, 2, 3, 5, 6, 7, 8, 12, 15, 17, 64, 75}) {
        const NDArray transposed = random_elements({2, rows, columns}, dtype).transpose(1, 2);
        ASSERT_EQ(transposed.contiguous().to_vector<double>(), one_by_one(transposed))
            << dtype << ' ' << rows << " x " << columns;
      }
}

}  // namespace
}  // namespace thimble
