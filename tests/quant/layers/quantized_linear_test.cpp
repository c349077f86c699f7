#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/quant/layers/quantized_ops.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

std::shared_ptr<QuantizedLinear> make(int64_t in, int64_t out, std::mt19937& rng, const QuantizedLinear::Config& like) {
  auto config = like;
  config.in_features = in;
  config.out_features = out;
  const nn::Linear linear(random_normal({out, in}, rng), random_normal({out}, rng));
  return QuantizedLinear::from_float(linear, QuantizationSpec::per_channel_weight(config.weight_bits), config.input,
                                     config.output, config.relu);
}

TEST(QuantizedLinear, IsTheNestedLoopsOnEveryMachine) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 40; ++trial) {
    const auto in = static_cast<int64_t>(1 + rng() % 150), out = static_cast<int64_t>(1 + rng() % 70);
    const auto rows = static_cast<int64_t>(rng() % 70);
    QuantizedLinear::Config config{.input = {0.02f, static_cast<int32_t>(rng() % 256), 8},
                                   .weight_bits = 2 + static_cast<int>(rng() % 7),
                                   .relu = rng() % 2 == 0};
    const int bits = 2 + static_cast<int>(rng() % 7);
    if (rng() % 3)
      config.output =
          TensorQParams{0.4f / static_cast<float>(1 << bits), static_cast<int32_t>(rng() % (1u << bits)), bits};
    const auto layer = make(in, out, rng, config);
    const NDArray x = random_bytes({rows, in}, rng);
    const auto expected = reference_linear(*layer, x.to_vector<uint8_t>());
    on_every_machine([&] {
      const Tensor y = (*layer)(Tensor(x));
      EXPECT_EQ(y.dtype(), config.output ? DType::uint8 : DType::float32);
      EXPECT_EQ(y.shape(), (Shape{rows, out}));
      EXPECT_EQ(y.data().to_vector<float>(), expected) << in << " -> " << out << ", " << rows << " rows";
      for (int64_t row = 0; row < std::min<int64_t>(rows, 5); ++row)
        EXPECT_EQ((*layer)(Tensor(x.slice(0, row, row + 1))).data().to_vector<float>(),
                  y.data().slice(0, row, row + 1).to_vector<float>());
    });
  }
}

TEST(QuantizedLinear, TakesAnyNumberOfDimensionsAndStrides) {
  std::mt19937 rng(2);
  const auto layer = make(6, 5, rng, {.input = {0.1f, 7, 8}});
  const NDArray x = random_bytes({2, 3, 6}, rng);
  const auto expected = reference_linear(*layer, x.to_vector<uint8_t>());
  EXPECT_EQ((*layer)(Tensor(x)).shape(), (Shape{2, 3, 5}));
  EXPECT_EQ((*layer)(Tensor(x)).data().to_vector<float>(), expected);
  const NDArray strided = x.transpose(0, 1);
  EXPECT_EQ((*layer)(Tensor(strided)).data().transpose(0, 1).to_vector<float>(), expected);
  EXPECT_EQ((*layer)(Tensor(x.reshape({-1}).slice(0, 0, 6))).shape(), Shape{5});
  EXPECT_EQ((*layer)(Tensor(NDArray(Shape{0, 6}, DType::uint8))).shape(), (Shape{0, 5}));
}

TEST(QuantizedLinear, RoundsTiesToEven) {
  // One weight of 1 and multiplier 0.5: every odd input is a tie.
  const nn::Linear linear(NDArray::from_vector<float>({127}, {1, 1}), Tensor());
  const auto layer = QuantizedLinear::from_float(linear, QuantizationSpec::per_channel_weight(), {1.0f, 0, 8},
                                                 TensorQParams{254.0f, 0, 8}, false);
  const auto arrays = arrays_of(*layer);
  ASSERT_EQ(arrays.at("weight").item<int32_t>(), 127);
  on_every_machine([&] {
    std::vector<uint8_t> x;
    std::vector<int32_t> expected;
    for (int v = 0; v < 256; ++v) {
      x.push_back(static_cast<uint8_t>(v));
      expected.push_back(static_cast<int32_t>(std::nearbyint(v / 2.0)));
    }
    EXPECT_EQ((*layer)(Tensor(NDArray::from_vector(x, {256, 1}))).data().to_vector<int32_t>(), expected);
  });
}

// |error| <= sum(|x| sw/2 + |w| sx/2 + sx sw/4) + bias step + rounding of the output, on inputs within their range.
TEST(QuantizedLinear, StaysWithinTheErrorThatTheScalesAllow) {
  std::mt19937 rng(3);
  for (int weight_bits = 2; weight_bits <= 8; ++weight_bits) {
    const int64_t in = 50, out = 20, rows = 30;
    const nn::Linear linear(random_normal({out, in}, rng), random_normal({out}, rng));
    const NDArray x = random_normal({rows, in}, rng);
    const QParams xp = choose_qparams(x);
    const auto layer = QuantizedLinear::from_float(linear, QuantizationSpec::per_channel_weight(weight_bits),
                                                   TensorQParams::from(xp), std::nullopt, false);
    const auto got = (*layer)(Tensor(quantize(x, xp))).data().to_vector<double>();
    const auto arrays = arrays_of(*layer);
    const auto sw = arrays.at("weight_scale").to_vector<double>();
    const auto w = linear.weight.data().to_vector<double>(), b = linear.bias.data().to_vector<double>();
    const auto xs = x.to_vector<double>();
    const double sx = xp.scale[0];
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r)
      for (size_t o = 0; o < static_cast<size_t>(out); ++o) {
        double y = b[o], allowed = sx * sw[o] / 2 + 1e-4;
        for (size_t i = 0; i < static_cast<size_t>(in); ++i) {
          const double xi = xs[r * 50 + i], wi = w[o * 50 + i];
          y += xi * wi;
          allowed += 0.501 * (std::abs(xi) * sw[o] + std::abs(wi) * sx) + 0.26 * sx * sw[o];
        }
        EXPECT_LE(std::abs(got[r * 20 + o] - y), allowed) << weight_bits << " bits";
      }
  }
}

TEST(QuantizedLinear, KeepsABiasMuchLargerThanItsWeights) {
  for (const float bias : {1e6f, -1e6f, 1e12f, -1e20f}) {
    const nn::Linear linear(NDArray::full({1, 4}, 1e-6), NDArray::full({1}, bias));
    const auto layer =
        QuantizedLinear::from_float(linear, QuantizationSpec::per_channel_weight(), {1e-3f, 0, 8}, std::nullopt, false);
    on_every_machine([&] {
      for (const int v : {0, 255}) {
        const float y = (*layer)(Tensor(NDArray::full({1, 4}, v, DType::uint8))).item<float>();
        EXPECT_NEAR(y / bias, 1, 1e-5) << bias;
      }
    });
  }
}

TEST(QuantizedLinear, KeepsTheBiasOfAChannelWhoseWeightsAreZero) {
  const NDArray weight = NDArray::from_vector<float>({0, 0, 0, 0, 1, -1}, {3, 2});
  const NDArray bias = NDArray::from_vector<float>({0.3f, -7e-5f, 0.0f});
  for (const float input_scale : {1e-4f, 0.5f, 30.0f}) {
    const auto layer = QuantizedLinear::from_float(nn::Linear(weight, bias), QuantizationSpec::per_channel_weight(),
                                                   {input_scale, 5, 8}, std::nullopt, false);
    const auto y = (*layer)(Tensor(NDArray::full({1, 2}, 200, DType::uint8))).data().to_vector<float>();
    EXPECT_FLOAT_EQ(y[0], 0.3f);
    EXPECT_FLOAT_EQ(y[1], -7e-5f);
    EXPECT_EQ(y[2], 0);
  }
}

TEST(QuantizedLinear, SurvivesWeightsOfAnySize) {
  for (const float size : {0.0f, 1e-45f, 1e-38f, 1e30f}) {
    const nn::Linear linear(NDArray::full({2, 3}, size), NDArray::full({2}, 1));
    const auto layer = QuantizedLinear::from_float(linear, QuantizationSpec::per_channel_weight(), {0.01f, 0, 8},
                                                   TensorQParams{0.1f, 3, 8}, false);
    for (const float v : (*layer)(Tensor(NDArray::full({2, 3}, 9, DType::uint8))).data().to_vector<float>())
      EXPECT_EQ(v, size > 1 ? 255 : 13);
  }
}

TEST(QuantizedLinear, TheLongestSumsFitInt32) {
  const int64_t k = kernels::PackedInt8Weights::kMaxK;
  for (const double weight : {1.0, -1.0})
    for (const double bias : {6e4, -6e4}) {
      const nn::Linear linear(NDArray::full({1, k}, weight), NDArray::full({1}, bias));
      for (const int32_t zero_point : {0, 255}) {
        const auto layer = QuantizedLinear::from_float(linear, QuantizationSpec::per_channel_weight(),
                                                       {1.0f, zero_point, 8}, std::nullopt, false);
        on_every_machine([&] {
          for (const int v : {0, 255}) {
            const double expected = weight * static_cast<double>(k) * (v - zero_point) + bias;
            const Tensor y = (*layer)(Tensor(NDArray::full({1, k}, v, DType::uint8)));
            EXPECT_NEAR(y.item<double>() / expected, 1, 1e-3);
          }
        });
      }
    }
}

TEST(QuantizedLinear, RefusesWrongInputs) {
  std::mt19937 rng(4);
  const auto layer = make(6, 5, rng, {.input = {0.1f, 7, 8}});
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({2, 6}))), DTypeError);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({2, 6}, DType::int8))), DTypeError);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({2, 5}, DType::uint8))), ShapeError);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({}, DType::uint8))), ShapeError);
  QuantizedLinear empty({.in_features = 2, .out_features = 2});
  EXPECT_THROW(empty(Tensor(NDArray::zeros({1, 2}, DType::uint8))), ValueError);
}

TEST(QuantizedLinear, RefusesUnsoundConfigurations) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  using Config = QuantizedLinear::Config;
  const Config good{.in_features = 2, .out_features = 2, .output = TensorQParams{}};
  QuantizedLinear fits(good);
  auto expect_refused = [&](auto change) {
    Config config = good;
    change(config);
    EXPECT_THROW(QuantizedLinear{config}, ValueError);
  };
  for (const float scale : {0.0f, -1.0f, kInf, std::numeric_limits<float>::quiet_NaN()}) {
    expect_refused([&](Config& c) { c.input.scale = scale; });
    expect_refused([&](Config& c) { c.output->scale = scale; });
  }
  for (const int bits : {-1, 0, 1, 9, 32}) {
    expect_refused([&](Config& c) { c.input.bits = bits; });
    expect_refused([&](Config& c) { c.output->bits = bits; });
    expect_refused([&](Config& c) { c.weight_bits = bits; });
  }
  expect_refused([](Config& c) { c.input.zero_point = -1; });
  expect_refused([](Config& c) { c.output = TensorQParams{1, 16, 4}; });
  for (const int64_t size : {int64_t{-1}, int64_t{0}, int64_t{1} << 40}) {
    expect_refused([&](Config& c) { c.in_features = size; });
    expect_refused([&](Config& c) { c.out_features = size; });
  }
}

TEST(QuantizedLinear, RefusesUnsoundTensors) {
  auto load = [](std::vector<int32_t> bias, std::vector<float> scale, TensorQParams input = {}) {
    QuantizedLinear layer({.in_features = 2, .out_features = 2, .input = input});
    layer.load_state({{"weight", NDArray::ones({2, 2}, DType::int8)},
                      {"weight_scale", NDArray::from_vector(scale)},
                      {"bias", NDArray::from_vector(bias)}});
  };
  load({1, 2}, {1, 2});
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    EXPECT_THROW(load({1, 2}, {1, bad}), ValueError);
  // With such a bias, a sum could leave int32.
  EXPECT_THROW(load({1, INT32_MAX}, {1, 1}), ValueError);
  EXPECT_THROW(load({INT32_MIN, 1}, {1, 1}), ValueError);
  // The multiplier would be infinite, and infinity times a sum of 0 not a number.
  EXPECT_THROW(load({1, 2}, {1, 3e38f}, {3e38f, 0, 8}), ValueError);
}

TEST(QuantizedLinear, RefusesFloatLayersThatItCannotHold) {
  const auto spec = QuantizationSpec::per_channel_weight();
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_THROW(QuantizedLinear::from_float(nn::Linear(NDArray::full({2, 2}, bad), Tensor()), spec, {}, {}, false),
                 ValueError);
    EXPECT_THROW(
        QuantizedLinear::from_float(nn::Linear(NDArray::ones({2, 2}), NDArray::full({2}, bad)), spec, {}, {}, false),
        ValueError);
  }
  const nn::Linear linear(2, 2);
  EXPECT_THROW(QuantizedLinear::from_float(linear, QuantizationSpec::activation(), {}, {}, false), ValueError);
  EXPECT_THROW(QuantizedLinear::from_float(linear, QuantizationSpec::per_channel_weight(9), {}, {}, false), ValueError);
  QuantizationSpec along_inputs = spec;
  along_inputs.axis = 1;
  EXPECT_THROW(QuantizedLinear::from_float(linear, along_inputs, {}, {}, false), ValueError);
}

TEST(QuantizedLinear, IsRebuiltFromItsAttributesAndTensors) {
  std::mt19937 rng(5);
  for (const bool integer_output : {false, true}) {
    const auto layer = make(9, 4, rng,
                            {.input = {0.1f, 7, 6},
                             .output = integer_output ? std::optional(TensorQParams{0.3f, 1, 3}) : std::nullopt,
                             .weight_bits = 5,
                             .relu = true});
    const auto copy = nn::copy_layer(*layer);
    EXPECT_EQ(copy->attributes(), layer->attributes());
    const Tensor x = random_bytes({3, 9}, rng);
    EXPECT_EQ((*copy)(x).data().to_vector<float>(), (*layer)(x).data().to_vector<float>());
  }
}

TEST(QuantizeLayers, AreTheFormulas) {
  std::mt19937 rng(6);
  Quantize to({0.25f, 3, 4});
  const Tensor x = NDArray::from_vector<float>({-10, -0.75f, -0.375f, 0, 0.125f, 0.375f, 3, 100});
  const Tensor q = to(x);
  EXPECT_EQ(q.dtype(), DType::uint8);
  EXPECT_EQ(q.data().to_vector<int32_t>(), (std::vector<int32_t>{0, 0, 1, 3, 3, 5, 15, 15}));
  Dequantize from({0.25f, 3, 4});
  EXPECT_EQ(from(q).data().to_vector<float>(), (std::vector<float>{-0.75f, -0.75f, -0.5f, 0, 0, 0.5f, 3, 3}));
  EXPECT_THROW(to(q), DTypeError);
  EXPECT_THROW(from(x), DTypeError);
  EXPECT_THROW(Quantize({0.0f, 0, 8}), ValueError);
  EXPECT_THROW(Dequantize({1.0f, 256, 8}), ValueError);
  // Signed integers and those of a reduced range as the unsigned ones that mean the same.
  EXPECT_EQ(TensorQParams::from(choose_qparams(-1, 1, {.is_signed = true})),
            TensorQParams::from(choose_qparams(-1, 1, {})));
  EXPECT_EQ(TensorQParams::from(choose_qparams(-1, 1, {.is_signed = true, .reduce_range = true})),
            TensorQParams::from(choose_qparams(-1, 1, {.bits = 7})));
  EXPECT_THROW(TensorQParams::from(choose_qparams({-1, -1}, {1, 1}, {.axis = 0})), ValueError);
}

}  // namespace
}  // namespace thimble::quant
