#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/quant/observer.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

TEST(MinMaxObserver, HandsItsInputOn) {
  MinMaxObserver observer;
  const Tensor x = NDArray::from_vector<float>({-1, 2, 3});
  const Tensor y = observer(x);
  EXPECT_TRUE(y.data().shares_memory_with(x.data()));
}

TEST(MinMaxObserver, RemembersTheExtremesOfAllItSaw) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (int trial = 0; trial < 50; ++trial) {
    const QuantizationSpec spec = QuantizationSpec::activation(2 + static_cast<int>(rng() % 7));
    MinMaxObserver observer(spec);
    float min = std::numeric_limits<float>::infinity(), max = -min;
    for (int batch = 0; batch < 5; ++batch) {
      std::vector<float> values(rng() % 20);
      for (float& v : values) {
        v = 10 * normal(rng);
        min = std::min(min, v);
        max = std::max(max, v);
      }
      observer(Tensor(NDArray::from_vector(values)));
    }
    const QParams got = observer.qparams(), expected = choose_qparams(min, max, spec);
    EXPECT_EQ(got.scale, expected.scale);
    EXPECT_EQ(got.zero_point, expected.zero_point);
  }
}

TEST(MinMaxObserver, SaysSoIfItSawNothing) {
  MinMaxObserver observer;
  EXPECT_THROW(observer.qparams(), ValueError);
  observer(Tensor(NDArray(Shape{0, 4})));
  EXPECT_THROW(observer.qparams(), ValueError);
  observer(Tensor(NDArray::zeros({1})));
  EXPECT_EQ(observer.qparams().scale, std::vector<float>{1});
}

TEST(MinMaxObserver, RefusesValuesThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    MinMaxObserver observer;
    observer(Tensor(NDArray::from_vector<float>({0, 1})));
    EXPECT_THROW(observer(Tensor(NDArray::from_vector<float>({0, bad}))), ValueError);
    EXPECT_EQ(observer.qparams().scale, choose_qparams(0, 1).scale) << "what it refused left traces";
  }
}

TEST(MinMaxObserver, TakesStridedInputButNoOtherDtype) {
  MinMaxObserver observer;
  const NDArray x = NDArray::from_vector<float>({1, -5, 2, 9, 3, 4}, {3, 2});
  observer(Tensor(x.slice(1, 0, 1)));
  EXPECT_EQ(observer.qparams().scale, choose_qparams(1, 3).scale);
  EXPECT_THROW(observer(Tensor(NDArray::zeros({2}, DType::uint8))), DTypeError);
}

TEST(MinMaxObserver, CopiesAreIndependent) {
  MinMaxObserver observer;
  observer(Tensor(NDArray::from_vector<float>({-1, 1})));
  const auto copy = nn::copy_layer(observer);
  observer(Tensor(NDArray::from_vector<float>({-100, 100})));
  EXPECT_EQ(dynamic_cast<Observer&>(*copy).qparams().scale, choose_qparams(-1, 1).scale);
}

TEST(Observers, AreMadeByName) {
  EXPECT_EQ(make_observer("minmax", {})->type(), "MinMaxObserver");
  EXPECT_THROW(make_observer("min-max", {}), ValueError);
}

}  // namespace
}  // namespace thimble::quant
