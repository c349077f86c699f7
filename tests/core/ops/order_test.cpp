#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/order.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const float kNotANumber = std::numeric_limits<float>::quiet_NaN();

TEST(IntegerReductions, AreExactAndStayInTheirDtype) {
  const int64_t big = (int64_t{1} << 53) + 1;
  const NDArray x = NDArray::from_vector<int64_t>({big, 2, -3, 4, 5, 6}, {2, 3});
  using I64 = std::vector<int64_t>;
  EXPECT_EQ(sum(x, {1}).data().to_vector<int64_t>(), (I64{big - 1, 15}));
  EXPECT_EQ(prod(x, {1}).data().to_vector<int64_t>(), (I64{big * -6, 120}));
  EXPECT_EQ(max(x).item<int64_t>(), big);
  EXPECT_EQ(min(x, {0}, true).data().to_vector<int64_t>(), (I64{4, 2, -3}));
  EXPECT_EQ(mean(x.transpose(0, 1), {0}).data().to_vector<int64_t>(), (I64{(big - 1) / 3, 5}));
  const NDArray bytes = NDArray::from_vector<uint8_t>({200, 100, 1}),
                huge = NDArray::from_vector<uint64_t>({~uint64_t{0}, 1});
  EXPECT_EQ(sum(bytes).item<int>(), 45);
  EXPECT_EQ(mean(bytes).item<int>(), 100);
  EXPECT_EQ(max(bytes).dtype(), DType::uint8);
  EXPECT_EQ(max(huge).item<uint64_t>(), ~uint64_t{0});
  EXPECT_EQ(max(NDArray::from_vector<bool>({false, true})).item<bool>(), true);
}

TEST(IntegerReductions, OfNothing) {
  const NDArray none = NDArray::zeros({0, 2}, DType::int8);
  EXPECT_EQ(sum(none, {0}).data().to_vector<int>(), (std::vector<int>{0, 0}));
  EXPECT_EQ(prod(none).item<int>(), 1);
  EXPECT_THROW(max(none, {0}), ShapeError);
  const Attributes of_nothing{{"axes", std::vector<int64_t>{0}}, {"of_nothing", true}};
  EXPECT_EQ(apply(make_op("max", of_nothing), {none}).data().to_vector<int>(), (std::vector<int>{-128, -128}));
  EXPECT_EQ(apply(make_op("min", of_nothing), {none}).data().to_vector<int>(), (std::vector<int>{127, 127}));
  EXPECT_EQ(apply(make_op("max", of_nothing), {NDArray::zeros({0, 1})}).item<float>(),
            -std::numeric_limits<float>::infinity());
}

TEST(Prod, GradientsAreRightWhereElementsAreZero) {
  Generator generator(1);
  for (const Shape& shape : {Shape{}, Shape{5}, Shape{2, 3}, Shape{2, 3, 4}, Shape{2, 0}}) {
    for (const NDArray& x : randn_layouts(shape, generator)) {
      EXPECT_NEAR(
          prod(x).item<double>(),
          [&] {
            double product = 1;
            for (const double v : x.to_vector<double>()) product *= v;
            return product;
          }(),
          1e-12);
      check_gradients([](const auto& t) { return prod(t[0]); }, {x});
      if (shape.ndim() > 1) check_gradients([](const auto& t) { return prod(t[0], {-1}, true); }, {x});
      if (shape.ndim() > 2) check_gradients([](const auto& t) { return prod(t[0], {0, 2}); }, {x});
    }
  }
  const NDArray zeros = NDArray::from_vector<double>({0, 2, 3, 0, 0, 4, 5, 6, 7}, {3, 3});
  check_gradients([](const auto& t) { return prod(t[0], {1}); }, {zeros});
}

TEST(ArgMax, AndArgMinTakeTheFirstOrTheLast) {
  const Tensor x = NDArray::from_vector<float>({2, 5, 5, 2, 3, kNotANumber, kNotANumber, 9}, {2, 4});
  using I64 = std::vector<int64_t>;
  EXPECT_EQ(argmax(x, 1).data().to_vector<int64_t>(), (I64{1, 1}));
  EXPECT_EQ(argmax(x, 1, false, true).data().to_vector<int64_t>(), (I64{2, 2}));
  EXPECT_EQ(argmin(x, -1).data().to_vector<int64_t>(), (I64{0, 1}));
  EXPECT_EQ(argmin(x, -1, true, true).data().to_vector<int64_t>(), (I64{3, 2}));
  EXPECT_EQ(argmin(x, 0, true).shape(), (Shape{1, 4}));
  EXPECT_EQ(argmin(NDArray::from_vector<int64_t>({5, -9, 3}), 0).item<int64_t>(), 1);
  EXPECT_THROW(argmin(NDArray::zeros({0}), 0), ShapeError);
}

TEST(TopK, SortsAndKeepsTheOrderOfEqualElements) {
  const Tensor x = NDArray::from_vector<float>({1, 3, kNotANumber, 3, 2}, {1, 5});
  using I64 = std::vector<int64_t>;
  EXPECT_EQ(topk(x, 4).second.data().to_vector<int64_t>(), (I64{2, 1, 3, 4}));
  EXPECT_EQ(topk(x, 5, 1, false).second.data().to_vector<int64_t>(), (I64{0, 4, 1, 3, 2}));
  EXPECT_EQ(topk(x, 0).first.shape(), (Shape{1, 0}));
  const int64_t big = int64_t{1} << 53;
  EXPECT_EQ(topk(NDArray::from_vector<int64_t>({big, big + 1}), 1).second.item<int64_t>(), 1);
  EXPECT_THAT([&] { topk(x, 6); }, ThrowsMessage<ValueError>(HasSubstr("topk: k of 6 does not fit axis 1 of [1,5]")));
  Generator generator(2);
  for (const NDArray& v : randn_layouts({3, 4, 2}, generator)) {
    const std::pair<Tensor, Tensor> best = topk(v, 2, 1);
    const NDArray &values = best.first.data(), &indices = best.second.data();
    for_each_index(values.shape(), [&](const Shape& i) {
      EXPECT_EQ(at(values, i), at(v, {i[0], static_cast<int64_t>(at(indices, i)), i[2]}));
    });
    check_gradients([](const auto& t) { return topk(t[0], 2, 1).first; }, {v});
  }
}

TEST(CumSum, IsTheNaiveLoopFromEitherEnd) {
  Generator generator(3);
  for (const Shape& shape : {Shape{5}, Shape{1}, Shape{0}, Shape{2, 3}, Shape{3, 1, 4}, Shape{2, 0, 3}}) {
    for (const NDArray& x : randn_layouts(shape, generator)) {
      for (int axis = 0; axis < shape.ndim(); ++axis) {
        for (const bool exclusive : {false, true}) {
          for (const bool reverse : {false, true}) {
            const NDArray y = cumsum(x, axis - shape.ndim(), exclusive, reverse).data();
            for_each_index(shape, [&](const Shape& i) {
              double expected = 0;
              for (Shape j = i; j[axis] >= 0 && j[axis] < shape[axis]; j[axis] += reverse ? 1 : -1)
                expected += exclusive && j == i ? 0 : at(x, j);
              EXPECT_NEAR(at(y, i), expected, 1e-12);
            });
            check_gradients([&](const auto& t) { return cumsum(t[0], axis, exclusive, reverse); }, {x});
          }
        }
      }
    }
  }
  EXPECT_EQ(cumsum(NDArray::from_vector<uint8_t>({200, 100, 1}), 0).data().to_vector<int>(),
            (std::vector<int>{200, 44, 45}));
  const NDArray tenths = NDArray::full({1'000'000}, 0.1);
  EXPECT_NEAR(cumsum(tenths, 0).data().slice(0, -1, 1'000'000).item<float>(), 1e5, 0.01);
}

TEST(Hardmax, MarksTheFirstLargest) {
  const NDArray x = NDArray::from_vector<float>({3, 1, 3, 0, 0, 2}, {2, 3});
  EXPECT_EQ(hardmax(x).data().to_vector<float>(), (std::vector<float>{1, 0, 0, 0, 0, 1}));
  EXPECT_EQ(hardmax(x, 0).data().to_vector<float>(), (std::vector<float>{1, 1, 1, 0, 0, 0}));
  EXPECT_EQ(hardmax(NDArray::zeros({0, 2})).shape(), (Shape{0, 2}));
}

}  // namespace
}  // namespace thimble
