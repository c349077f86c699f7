// Parts of tensors, and orders of their elements: what is made of other ops.
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/gradcheck.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/logic.h>
#include <thimble/core/ops/order.h>
#include <thimble/core/ops/rearrange.h>
#include <thimble/core/ops/shape.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Int64s = std::vector<int64_t>;

// 0, 1, 2, ...
NDArray counted_up(const Shape& shape) {
  Int64s values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 0);
  return NDArray::from_vector(values).reshape(shape);
}

Int64s int64s_of(const Tensor& x) { return x.data().to_vector<int64_t>(); }

TEST(Selections, SelectAndNarrowCountFromBothEnds) {
  const Tensor x = counted_up({2, 3});
  EXPECT_EQ(int64s_of(select(x, 1, 0)), (Int64s{0, 3}));
  EXPECT_EQ(int64s_of(select(x, -1, -1)), (Int64s{2, 5}));
  EXPECT_EQ(select(x, 0, 1).shape(), (Shape{3}));
  EXPECT_EQ(int64s_of(narrow(x, 1, 1, 2)), (Int64s{1, 2, 4, 5}));
  EXPECT_EQ(int64s_of(narrow(x, 1, -2, 1)), (Int64s{1, 4}));
  EXPECT_EQ(int64s_of(narrow(x, 1, -2, 2)), (Int64s{1, 2, 4, 5}));
  EXPECT_EQ(narrow(x, 1, 3, 0).shape(), (Shape{2, 0}));
  for (const int64_t index : {-4, 3})
    EXPECT_THAT([&] { select(x, 1, index); }, ThrowsMessage<ShapeError>(HasSubstr("along an axis of size 3")));
  EXPECT_THROW(narrow(x, 1, 2, 2), ShapeError);
  EXPECT_THROW(narrow(x, 1, -1, 2), ShapeError);
  EXPECT_THROW(narrow(x, 1, 0, -1), ShapeError);
  EXPECT_THROW(narrow(x, 1, 1, std::numeric_limits<int64_t>::max()), ShapeError);
  EXPECT_THROW(select(x, 2, 0), ShapeError);
}

TEST(Selections, PartsOfOneSizeAndOfSeveral) {
  const Tensor x = counted_up({2, 5});
  const std::vector<Tensor> pairs = split(x, 2, 1), parts = split(x, {1, 0, 4}, -1), rows = unbind(x),
                            none = split(counted_up({0, 2}), 3);
  ASSERT_EQ(pairs.size(), 3u);
  EXPECT_EQ(int64s_of(pairs[1]), (Int64s{2, 3, 7, 8}));
  EXPECT_EQ(int64s_of(pairs[2]), (Int64s{4, 9}));
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[1].shape(), (Shape{2, 0}));
  EXPECT_EQ(int64s_of(parts[2]), (Int64s{1, 2, 3, 4, 6, 7, 8, 9}));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(int64s_of(rows[1]), (Int64s{5, 6, 7, 8, 9}));
  ASSERT_EQ(none.size(), 1u);
  EXPECT_EQ(none[0].shape(), (Shape{0, 2}));
  EXPECT_THROW(split(x, 0), ValueError);
  for (const std::vector<int64_t>& sizes : {Int64s{2, 2}, Int64s{3, 3}, Int64s{6, -1}, Int64s{}})
    EXPECT_THAT([&] { split(x, sizes, 1); }, ThrowsMessage<ShapeError>(HasSubstr("do not add up")));
}

TEST(Selections, FlipAndMovedim) {
  const Tensor x = counted_up({2, 3});
  EXPECT_EQ(int64s_of(flip(x, {1})), (Int64s{2, 1, 0, 5, 4, 3}));
  EXPECT_EQ(int64s_of(flip(x, {0, -1})), (Int64s{5, 4, 3, 2, 1, 0}));
  EXPECT_EQ(int64s_of(flip(x, {})), int64s_of(x));
  EXPECT_EQ(flip(counted_up({0, 2}), {0}).shape(), (Shape{0, 2}));
  EXPECT_THROW(flip(x, {1, -1}), ShapeError);
  const Tensor volume = counted_up({2, 3, 4});
  EXPECT_EQ(movedim(volume, 0, -1).shape(), (Shape{3, 4, 2}));
  EXPECT_EQ(int64s_of(movedim(volume, 2, 0)), int64s_of(permute(volume, {2, 0, 1})));
  EXPECT_EQ(int64s_of(cat({x, x}, 1)), int64s_of(concat({x, x}, 1)));
}

TEST(Selections, HaveGradients) {
  Generator generator(1);
  const NDArray x = randn({3, 4}, generator, DType::float64);
  check_gradients([](const auto& t) { return select(t[0], 1, -2) * select(t[0], 1, 0); }, {x});
  check_gradients([](const auto& t) { return split(t[0], {1, 2}, 0)[1] * narrow(t[0], 0, -2, 2); }, {x});
  check_gradients([](const auto& t) { return flip(t[0], {0, 1}) * t[0]; }, {x});
  check_gradients([](const auto& t) { return sort(t[0], 0).first * t[0]; }, {x});
  const NDArray mask = NDArray::from_vector<bool>({true, false, false, true});
  check_gradients([&](const auto& t) { return masked_fill(t[0], mask, 3) * t[0]; }, {x});
}

TEST(Selections, SortIsTopkOfAll) {
  const Tensor x = NDArray::from_vector<float>({3, 1, 2, 1, -5, 8}, {2, 3});
  const auto [values, indices] = sort(x);
  EXPECT_EQ(values.data().to_vector<float>(), (std::vector<float>{1, 2, 3, -5, 1, 8}));
  EXPECT_EQ(int64s_of(indices), (Int64s{1, 2, 0, 1, 0, 2}));
  EXPECT_EQ(int64s_of(argsort(x, 0, true)), (Int64s{0, 0, 1, 1, 1, 0}));
}

TEST(Selections, MasksFillWhatTheyCover) {
  const Tensor x = counted_up({2, 3});
  const Tensor filled = masked_fill(x, NDArray::from_vector<bool>({true, false}, {2, 1}), -1);
  EXPECT_EQ(int64s_of(filled), (Int64s{-1, -1, -1, 3, 4, 5}));
  EXPECT_EQ(filled.dtype(), DType::int64);
  EXPECT_THAT(
      [&] {
        masked_fill(x, NDArray::from_vector<bool>({true, false}, {2, 1, 1}), 0);
      },
      ThrowsMessage<ShapeError>(HasSubstr("does not broadcast")));
}

TEST(Selections, ConstantsOfATensorsShape) {
  const Tensor x = NDArray::zeros({2, 2}, DType::uint8);
  EXPECT_EQ(full_like(x, 7).data().to_vector<uint8_t>(), (std::vector<uint8_t>{7, 7, 7, 7}));
  EXPECT_EQ(ones_like(x).dtype(), DType::uint8);
  EXPECT_EQ(zeros_like(x).shape(), x.shape());
}

TEST(Logic, OfAnyNumbers) {
  const Tensor a = NDArray::from_vector<float>({0, 0, 2, -1}), b = NDArray::from_vector<int64_t>({0, 3, 0, 4});
  using Bools = std::vector<bool>;
  EXPECT_EQ(logical_and(a, b).data().to_vector<bool>(), (Bools{false, false, false, true}));
  EXPECT_EQ(logical_or(a, b).data().to_vector<bool>(), (Bools{false, true, true, true}));
  EXPECT_EQ(logical_xor(a, b).data().to_vector<bool>(), (Bools{false, true, true, false}));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = NDArray::from_vector<float>({1, 2, nan});
  EXPECT_EQ(not_equal(x, NDArray::from_vector<float>({1, 3, nan})).data().to_vector<bool>(),
            (Bools{false, true, true}));
}

}  // namespace
}  // namespace thimble
