#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/norm.h>
#include <thimble/quant/layers/quantized_group_norm.h>

namespace thimble::quant {
namespace {

struct GroupCase {
  int64_t groups;
  Shape shape;
  bool affine;
};

// As the header of the kernel says.
std::vector<int> reference_group_norm(const NDArray& q, const GroupCase& c, const nn::GroupNorm& layer,
                                      const TensorQParams& from, const TensorQParams& to) {
  const Shape& s = c.shape;
  const int64_t pixels = s.numel() / (s[0] * s[1]), size = s[1] / c.groups, count = size * pixels;
  const auto x = q.to_vector<int>();
  std::vector<int> y;
  for (int64_t row = 0; row < s[0] * c.groups; ++row) {
    int64_t sum = 0, squares = 0;
    for (int64_t i = row * count; i < (row + 1) * count; ++i) {
      sum += x[static_cast<size_t>(i)];
      squares += int64_t{x[static_cast<size_t>(i)]} * x[static_cast<size_t>(i)];
    }
    const double scale = double{from.scale}, n = static_cast<double>(count), mean = static_cast<double>(sum) / n;
    const double variance = std::max(0.0, static_cast<double>(squares) / n - mean * mean);
    const double factor = scale / std::sqrt(variance * scale * scale + 1e-5);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t channel = row % c.groups * size + i / pixels;
      const auto number = [&](const Tensor& of, double otherwise) {
        return (of.defined() ? of.data().to_vector<double>()[static_cast<size_t>(channel)] : otherwise) /
               double{to.scale};
      };
      const auto a = static_cast<float>(factor * number(layer.weight, 1));
      const double middle = std::nearbyint(mean);
      const auto b = static_cast<float>(number(layer.bias, 0) - (mean - middle) * double{a});
      const float v = static_cast<float>(x[static_cast<size_t>(row * count + i)] - middle) * a + b;
      y.push_back(static_cast<int>(std::clamp(std::nearbyint(v) + static_cast<float>(to.zero_point), 0.0f, 255.0f)));
    }
  }
  return y;
}

TEST(QuantizedGroupNorm, IsTheNormalizationOfTheIntegersOnEveryMachine) {
  std::mt19937 rng(3);
  const TensorQParams from{0.04f, 90, 8}, to{0.02f, 120, 8};
  for (const GroupCase& c :
       {GroupCase{2, {3, 6, 5, 7}, true}, GroupCase{6, {3, 6, 5, 7}, true}, GroupCase{1, {2, 3, 9, 4}, false},
        GroupCase{8, {1, 72, 17, 13}, true}, GroupCase{130, {2, 130, 8, 8}, true}, GroupCase{2, {4, 8}, true},
        GroupCase{3, {2, 6, 50}, true}, GroupCase{2, {2, 4, 3, 4, 5}, false}, GroupCase{1, {1, 1, 300, 301}, true},
        GroupCase{300, {2, 300, 3, 3}, false}}) {
    SCOPED_TRACE(str(c.groups, ' ', c.shape, ' ', c.affine));
    const Tensor weight = c.affine ? Tensor(random_normal({c.shape[1]}, rng)) : Tensor(),
                 bias = c.affine ? Tensor(random_normal({c.shape[1]}, rng)) : Tensor();
    const nn::GroupNorm layer(c.groups, c.shape[1], 1e-5, weight, bias);
    const auto made = QuantizedGroupNorm::from_float(layer, from, to);
    const NDArray q = random_bytes(c.shape, rng);
    const std::vector<int> expected = reference_group_norm(q, c, layer, from, to);
    on_every_machine([&] {
      const Tensor y = (*made)(Tensor(q));
      EXPECT_EQ(y.dtype(), DType::uint8);
      EXPECT_EQ(y.shape(), c.shape);
      EXPECT_EQ(y.data().to_vector<int>(), expected);
    });
    // And what it is to be: half a step off at most.
    const Tensor numbers = (Tensor(q.to(DType::float64)) - Tensor(NDArray::full({}, 90, DType::float64))) *
                           Tensor(NDArray::full({}, double{from.scale}, DType::float64));
    const auto in_double = [](const Tensor& t) { return t.defined() ? Tensor(t.data().to(DType::float64)) : Tensor(); };
    const auto exact = group_norm(numbers, c.groups, in_double(weight), in_double(bias)).data().to_vector<double>();
    for (size_t i = 0; i < exact.size(); ++i)
      ASSERT_NEAR((expected[i] - 120) * double{to.scale}, std::clamp(exact[i], -120 * 0.02, 135 * 0.02), 0.502 * 0.02);
    const auto copied = nn::copy_layer(*made);
    EXPECT_EQ(copied->attributes(), made->attributes());
    EXPECT_EQ((*copied)(Tensor(q)).data().to_vector<int>(), expected);
  }
}

// Whose variance is 0: the bias, whatever it is divided by.
TEST(QuantizedGroupNorm, EqualIntegersAreTheBias) {
  const Tensor weight(NDArray::full({2}, 3)), bias(NDArray::from_vector<float>({0.5f, -1}));
  const Tensor x(NDArray::full({1, 2, 3, 3}, 200, DType::uint8));
  const std::vector<int> expected{55, 55, 55, 55, 55, 55, 55, 55, 55, 40, 40, 40, 40, 40, 40, 40, 40, 40};
  for (const double eps : {1e-12, 1e-80, 1e-300}) {
    const auto layer =
        QuantizedGroupNorm::from_float(nn::GroupNorm(1, 2, eps, weight, bias), {0.1f, 7, 8}, {0.1f, 50, 8});
    on_every_machine([&] { EXPECT_EQ((*layer)(x).data().to_vector<int>(), expected) << eps; });
  }
}

// Factors and biases beyond floats are ends of the range, and what is in the middle stays there.
TEST(QuantizedGroupNorm, NumbersBeyondFloatsSaturate) {
  const Tensor weight(NDArray::full({1}, 1e30)), x(NDArray::from_vector<uint8_t>({9, 10, 11, 10}, {1, 1, 4}));
  for (const float bias : {0.0f, 1e30f, -1e30f}) {
    const Tensor b(NDArray::full({1}, bias));
    const auto layer = QuantizedGroupNorm::from_float(nn::GroupNorm(1, 1, 1e-5, weight, b), {1, 0, 8}, {1e-30f, 50, 8});
    const int middle = bias == 0 ? 50 : bias > 0 ? 255 : 0;
    on_every_machine([&] {
      const auto y = (*layer)(x).data().to_vector<int>();
      EXPECT_EQ(y[1], middle) << bias;
      EXPECT_EQ(y[3], middle) << bias;
      if (bias != 0) return;
      EXPECT_EQ(y[0], 0);
      EXPECT_EQ(y[2], 255);
    });
  }
}

TEST(QuantizedGroupNorm, RefusesWhatItCannotTake) {
  const QuantizedGroupNorm::Options plain{.affine = false};
  EXPECT_THROW(QuantizedGroupNorm(0, 4, plain, {}, {}), ValueError);
  EXPECT_THROW(QuantizedGroupNorm(3, 4, plain, {}, {}), ValueError);
  EXPECT_THROW(QuantizedGroupNorm(1, 4, {.eps = 0}, {}, {}), ValueError);
  EXPECT_THROW(QuantizedGroupNorm(1, 4, plain, {-1.0f, 0, 8}, {}), ValueError);
  QuantizedGroupNorm layer(2, 4, plain, {}, {});
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2, 6, 2}, DType::uint8))), ShapeError);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({4}, DType::uint8))), ShapeError);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2, 4, 0}, DType::uint8))), ShapeError);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2, 4, 3}))), DTypeError);
}

}  // namespace
}  // namespace thimble::quant
