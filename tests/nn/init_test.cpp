#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include <thimble/nn/init.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

struct Moments {
  double mean, std, largest;
};

Moments moments(const NDArray& x) {
  const auto v = x.to_vector<double>();
  const auto n = static_cast<double>(v.size());
  Moments m{std::accumulate(v.begin(), v.end(), 0.0) / n, 0, 0};
  for (double e : v) {
    m.std += (e - m.mean) * (e - m.mean) / n;
    m.largest = std::max(m.largest, std::abs(e));
  }
  m.std = std::sqrt(m.std);
  return m;
}

void expect_uniform(const NDArray& x, double bound) {
  const Moments m = moments(x);
  EXPECT_NEAR(m.mean, 0, 0.02 * bound);
  EXPECT_NEAR(m.std, bound / std::sqrt(3.0), 0.02 * bound);
  EXPECT_LE(m.largest, bound);
  EXPECT_GT(m.largest, 0.99 * bound);
}

void expect_normal(const NDArray& x, double std) {
  const Moments m = moments(x);
  EXPECT_NEAR(m.mean, 0, 0.02 * std);
  EXPECT_NEAR(m.std, std, 0.02 * std);
  EXPECT_GT(m.largest, 3 * std);
}

// A convolution's weight: fan_in 30 * 9, fan_out 40 * 9.
const Shape kShape{40, 30, 3, 3};

TEST(Init, BoundsAndDeviationsFollowTheFans) {
  Generator g(1);
  expect_uniform(init::kaiming_uniform(kShape, 0, g), std::sqrt(6.0 / 270));
  expect_uniform(init::kaiming_uniform(kShape, 1, g), std::sqrt(3.0 / 270));
  expect_normal(init::kaiming_normal(kShape, 0, g), std::sqrt(2.0 / 270));
  expect_uniform(init::xavier_uniform(kShape, 2, g), 2 * std::sqrt(6.0 / 630));
  expect_normal(init::xavier_normal(kShape, 1, g), std::sqrt(2.0 / 630));
  EXPECT_THROW(init::xavier_normal({3}), ShapeError);
}

TEST(Init, LinearStartsAsInPyTorch) {
  manual_seed(2);
  const Linear layer(100, 400);
  expect_uniform(layer.weight.data(), 0.1);
  EXPECT_LE(moments(layer.bias.data()).largest, 0.1);
  EXPECT_GT(moments(layer.bias.data()).largest, 0.09);
}

TEST(Init, TheSameSeedGivesTheSameWeights) {
  manual_seed(3);
  const auto first = Linear(5, 4).weight.data().to_vector<float>();
  const auto second = Linear(5, 4).weight.data().to_vector<float>();
  manual_seed(3);
  EXPECT_EQ(Linear(5, 4).weight.data().to_vector<float>(), first);
  EXPECT_NE(second, first);
}

}  // namespace
}  // namespace thimble::nn
