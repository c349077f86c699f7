#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/dropout.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/parallel.h>

namespace thimble {
namespace {

TEST(Dropout, ZeroesAboutTheFractionPAndScalesTheRest) {
  Generator generator(1);
  for (double p : {0.1, 0.5, 0.9}) {
    const auto y = dropout(NDArray::full({200, 100}, 3), p, true, generator).data().to_vector<float>();
    int64_t zeros = 0;
    for (float v : y) {
      if (v == 0)
        ++zeros;
      else
        EXPECT_FLOAT_EQ(v, static_cast<float>(3 / (1 - p)));
    }
    // Five standard deviations of the binomial distribution.
    EXPECT_NEAR(static_cast<double>(zeros) / 20000, p, 5 * std::sqrt(p * (1 - p) / 20000));
  }
}

TEST(Dropout, KeepsAllForP0AndNothingForP1) {
  Generator generator(2);
  const NDArray x = randn({50}, generator);
  EXPECT_EQ(dropout(x, 0, true, generator).data().to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(dropout(NDArray::full({3}, std::numeric_limits<double>::infinity()), 1, true, generator)
                .data()
                .to_vector<float>(),
            std::vector<float>(3, 0));
}

TEST(Dropout, IsTheTensorItselfWhenNotTraining) {
  const Tensor x(NDArray::ones({3}), true);
  EXPECT_EQ(dropout(x, 0.5, false).id(), x.id());
}

TEST(Dropout, MaskDependsOnTheGeneratorAlone) {
  const int before = num_threads();
  std::vector<float> first;
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Generator generator(3);
    dropout(NDArray::ones({7}), 0.5, true, generator);  // so that the second starts within a block of numbers
    const auto y = dropout(NDArray::ones({100'001}), 0.3, true, generator).data().to_vector<float>();
    if (threads == 1) first = y;
    EXPECT_EQ(y, first);
    EXPECT_EQ(generator.state().position, 100'008u);
  }
  set_num_threads(before);
}

TEST(Dropout, ConsecutiveMasksDiffer) {
  Generator generator(4);
  const NDArray x = NDArray::ones({1000});
  const auto a = dropout(x, 0.5, true, generator).data().to_vector<float>();
  EXPECT_NE(a, dropout(x, 0.5, true, generator).data().to_vector<float>());
}

TEST(Dropout, GradientUsesTheMaskOfTheForwardPass) {
  Generator generator(5);
  const Tensor x(NDArray::ones({1000}), true);
  const Tensor y = dropout(x, 0.4, true, generator);
  sum(y).backward();
  EXPECT_EQ(x.grad().data().to_vector<float>(), y.data().to_vector<float>());
}

TEST(Dropout, GradientsAgreeWithDifferences) {
  Generator generator(6);
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{0, 3}, Shape{4, 3}, Shape{2, 3, 4}})
    for (const NDArray& x : randn_layouts(shape, generator))
      check_gradients(
          [](const auto& t) {
            Generator same(7);
            return dropout(t[0], 0.4, true, same);
          },
          {x});
}

TEST(Dropout, IsRemadeFromItsAttributesAndDrawsFromTheDefaultGenerator) {
  manual_seed(8);
  const auto expected = dropout(NDArray::ones({100}), 0.3).data().to_vector<float>();
  manual_seed(8);
  auto op = make_op("dropout", {{"p", 0.3}});
  EXPECT_EQ(op->attributes(), (Attributes{{"p", 0.3}}));
  EXPECT_EQ(apply(std::move(op), {NDArray::ones({100})}).data().to_vector<float>(), expected);
}

TEST(Dropout, RefusesProbabilitiesOutsideOfTheirRange) {
  const NDArray x = NDArray::ones({2});
  EXPECT_THROW(dropout(x, -0.1), ValueError);
  EXPECT_THROW(dropout(x, 1.1, false), ValueError);
  EXPECT_THROW(dropout(x, std::nan("")), ValueError);
  EXPECT_THROW(dropout(NDArray::ones({2}, DType::int64)), DTypeError);
}

}  // namespace
}  // namespace thimble
