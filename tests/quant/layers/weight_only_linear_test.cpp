#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/kernels/weight_only/bit_packing.h>
#include <thimble/core/ops.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/fused.h>
#include <thimble/quant/layers/weight_only_linear.h>
#include <thimble/quant/observers/qparams_mse.h>
#include <thimble/quant/passes/weight_only.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

QuantizationSpec spec_of(int bits, int64_t group_size = 0, QScheme scheme = QScheme::symmetric, bool is_signed = true) {
  return {.bits = bits, .is_signed = is_signed, .scheme = scheme, .axis = 0, .group_size = group_size};
}

nn::Linear random_linear(int64_t in, int64_t out, std::mt19937& rng, bool bias = true) {
  return {random_normal({out, in}, rng), bias ? Tensor(random_normal({out}, rng)) : Tensor()};
}

// The weights that a layer stands for, from its state as the header describes it.
std::vector<double> dequantized(const WeightOnlyLinear& layer) {
  const auto arrays = arrays_of(layer);
  const auto [in, out, bits, scheme, group_size, relu, bias] = layer.config();
  const int64_t groups = group_size ? (in + group_size - 1) / group_size : 1;
  const auto packed = arrays.at("weight").to_vector<uint8_t>();
  const auto scale = arrays.at("weight_scale").to_vector<double>();
  const auto zero_points = scheme == QScheme::affine ? arrays.at("weight_zero_point").to_vector<int32_t>()
                                                     : std::vector<int32_t>(scale.size(), 1 << (bits - 1));
  std::vector<double> weights;
  std::vector<uint8_t> row(static_cast<size_t>(in));
  for (int64_t o = 0; o < out; ++o) {
    kernels::unpack_bits(packed.data() + o * kernels::packed_bytes(in, bits), in, bits, row.data());
    for (int64_t i = 0; i < in; ++i) {
      const auto p = static_cast<size_t>(o * groups + (group_size ? i / group_size : 0));
      weights.push_back(scale[p] * (row[static_cast<size_t>(i)] - zero_points[p]));
    }
  }
  return weights;
}

// |y - x w^T - b| <= sum |w| max|x| / 64000, and the rounding of the floats.
void expect_products(const WeightOnlyLinear& layer, const NDArray& x, const Tensor& y) {
  const auto [in, out, bits, scheme, group_size, relu, bias] = layer.config();
  const std::vector<double> w = dequantized(layer), xs = x.to_vector<double>(), ys = y.data().to_vector<double>();
  const std::vector<double> b = bias ? arrays_of(layer).at("bias").to_vector<double>() : std::vector<double>(w.size());
  ASSERT_EQ(ys.size() * static_cast<size_t>(in), xs.size() * static_cast<size_t>(out));
  for (size_t r = 0; r < xs.size() / static_cast<size_t>(in); ++r)
    for (size_t o = 0; o < static_cast<size_t>(out); ++o) {
      double expected = b[o], weights = 0, products = std::abs(b[o]), largest = 0;
      for (size_t i = 0; i < static_cast<size_t>(in); ++i) {
        const double xi = xs[r * static_cast<size_t>(in) + i], wi = w[o * static_cast<size_t>(in) + i];
        expected += xi * wi;
        weights += std::abs(wi);
        products += std::abs(xi * wi);
        largest = std::max(largest, std::abs(xi));
      }
      if (relu) expected = std::max(expected, 0.0);
      EXPECT_LE(std::abs(ys[r * static_cast<size_t>(out) + o] - expected), weights * largest / 64000 + products * 1e-6);
    }
}

TEST(WeightOnlyLinear, IsTheFloatLayerOfItsWeightsOnEveryMachine) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 60; ++trial) {
    const auto in = static_cast<int64_t>(1 + rng() % 300), out = static_cast<int64_t>(1 + rng() % 70);
    const auto group_size = static_cast<int64_t>(1 + rng() % 80), rows = static_cast<int64_t>(rng() % 20);
    const auto spec = spec_of(static_cast<int>(2 + rng() % 7), rng() % 3 ? group_size : 0,
                              rng() % 2 ? QScheme::affine : QScheme::symmetric, rng() % 2);
    const nn::Linear linear = random_linear(in, out, rng, rng() % 2);
    const auto layer = WeightOnlyLinear::from_float(linear, spec, rng() % 2);
    const NDArray x = random_normal({rows, in}, rng);
    const Tensor once = (*layer)(Tensor(x));
    EXPECT_EQ(once.shape(), (Shape{rows, out}));
    expect_products(*layer, x, once);
    on_every_machine([&] {
      EXPECT_EQ((*layer)(Tensor(x)).data().to_vector<float>(), once.data().to_vector<float>());
      for (int64_t row = 0; row < std::min<int64_t>(rows, 3); ++row)
        EXPECT_EQ((*layer)(Tensor(x.slice(0, row, row + 1))).data().to_vector<float>(),
                  once.data().slice(0, row, row + 1).to_vector<float>());
    });
  }
}

TEST(WeightOnlyLinear, WeightsAreWithinHalfAStep) {
  std::mt19937 rng(2);
  for (int bits = 2; bits <= 8; ++bits)
    for (const QScheme scheme : {QScheme::symmetric, QScheme::affine})
      for (const bool is_signed : {false, true})
        for (const int64_t group_size : {0, 16, 20, 100})
          for (const bool reduce_range : {false, bits > 2}) {
            const nn::Linear linear = random_linear(48, 7, rng);
            QuantizationSpec spec = spec_of(bits, group_size, scheme, is_signed);
            spec.reduce_range = reduce_range;
            const auto layer = WeightOnlyLinear::from_float(linear, spec, false);
            const auto scale = arrays_of(*layer).at("weight_scale").to_vector<double>();
            const auto w = dequantized(*layer), before = linear.weight.data().to_vector<double>();
            // Rounding an affine zero point shifts the range by up to half a step, which clamps the outermost weights.
            const double steps = scheme == QScheme::affine ? 1.01 : 0.51;
            for (size_t i = 0; i < w.size(); ++i) {
              const auto size = static_cast<size_t>(group_size ? group_size : 48), groups = (48 + size - 1) / size;
              const size_t parameter = i / 48 * groups + i % 48 / size;
              EXPECT_LE(std::abs(w[i] - before[i]), steps * scale[parameter]) << bits << " bits";
            }
          }
}

double squared_error(const WeightOnlyLinear& layer, const NDArray& weight) {
  const std::vector<double> w = dequantized(layer), before = weight.to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) sum += (w[i] - before[i]) * (w[i] - before[i]);
  return sum;
}

TEST(WeightOnlyLinear, TheObserverChoosesTheParametersOfEachGroup) {
  std::mt19937 rng(14);
  for (int bits = 2; bits <= 5; ++bits)
    for (const QScheme scheme : {QScheme::symmetric, QScheme::affine})
      for (const int64_t group_size : {0, 16}) {
        const nn::Linear linear = random_linear(48, 7, rng);
        const QuantizationSpec spec = spec_of(bits, group_size, scheme);
        const auto minmax = WeightOnlyLinear::from_float(linear, spec, false);
        const auto mse = WeightOnlyLinear::from_float(linear, spec, false, "mse");
        const NDArray& weight = linear.weight.data();
        EXPECT_EQ(arrays_of(*minmax).at("weight_scale").to_vector<float>(), choose_qparams(weight, spec).scale);
        EXPECT_EQ(arrays_of(*mse).at("weight_scale").to_vector<float>(), choose_qparams_mse(weight, spec).scale);
        EXPECT_LT(squared_error(*mse, weight), squared_error(*minmax, weight)) << bits << " bits";
      }
  EXPECT_THAT(error_of([&] { WeightOnlyLinear::from_float(random_linear(4, 2, rng), spec_of(4), false, "entropy"); }),
              HasSubstr("unknown observer 'entropy'"));
}

TEST(WeightOnlyLinear, TakesAnyNumberOfDimensionsAndStrides) {
  std::mt19937 rng(3);
  const auto layer = WeightOnlyLinear::from_float(random_linear(6, 5, rng), spec_of(4), false);
  const NDArray x = random_normal({2, 3, 6}, rng);
  const auto expected = (*layer)(Tensor(x.reshape({6, 6}))).data().to_vector<float>();
  EXPECT_EQ((*layer)(Tensor(x)).shape(), (Shape{2, 3, 5}));
  EXPECT_EQ((*layer)(Tensor(x)).data().to_vector<float>(), expected);
  EXPECT_EQ((*layer)(Tensor(x.reshape({1, 2, 3, 6}))).shape(), (Shape{1, 2, 3, 5}));
  EXPECT_EQ((*layer)(Tensor(x.reshape({1, 2, 3, 6}))).data().to_vector<float>(), expected);
  EXPECT_EQ((*layer)(Tensor(x.transpose(0, 1))).data().transpose(0, 1).to_vector<float>(), expected);
  EXPECT_EQ((*layer)(Tensor(x.reshape({-1}).slice(0, 0, 6))).shape(), Shape{5});
  EXPECT_EQ((*layer)(Tensor(NDArray(Shape{0, 6}))).shape(), (Shape{0, 5}));
}

TEST(WeightOnlyLinear, KeepsNaN) {
  std::mt19937 rng(4);
  const auto layer = WeightOnlyLinear::from_float(random_linear(6, 5, rng), spec_of(4), true);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    NDArray x = random_normal({2, 6}, rng);
    x.data<float>()[7] = bad;
    const auto y = (*layer)(Tensor(x)).data().to_vector<float>();
    for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i >= 5);
  }
}

TEST(WeightOnlyLinear, HasSmallTensors) {
  std::mt19937 rng(5);
  const auto layer = WeightOnlyLinear::from_float(random_linear(100, 7, rng), spec_of(3, 25, QScheme::affine), false);
  const auto arrays = arrays_of(*layer);
  EXPECT_EQ(describe(arrays.at("weight")), "uint8[7,38]");
  EXPECT_EQ(describe(arrays.at("weight_scale")), "float32[7,4]");
  EXPECT_EQ(describe(arrays.at("weight_zero_point")), "uint8[7,4]");
  EXPECT_EQ(describe(arrays.at("bias")), "float32[7]");
  const auto plain = WeightOnlyLinear::from_float(random_linear(100, 7, rng, false), spec_of(8), false);
  EXPECT_EQ(plain->state().size(), 2u);
  EXPECT_EQ(describe(arrays_of(*plain).at("weight")), "uint8[7,100]");
  EXPECT_EQ(describe(arrays_of(*plain).at("weight_scale")), "float32[7]");
}

TEST(WeightOnlyLinear, IsRebuiltFromItsAttributesAndTensors) {
  std::mt19937 rng(6);
  for (const bool bias : {false, true})
    for (const QScheme scheme : {QScheme::symmetric, QScheme::affine}) {
      const auto layer = WeightOnlyLinear::from_float(random_linear(12, 4, rng, bias), spec_of(5, 6, scheme), true);
      const auto copy = nn::copy_layer(*layer);
      EXPECT_EQ(copy->attributes(), layer->attributes());
      const Tensor x = random_normal({3, 12}, rng);
      EXPECT_EQ((*copy)(x).data().to_vector<float>(), (*layer)(x).data().to_vector<float>());
    }
}

TEST(WeightOnlyLinear, ForgetsItsWeightsWhenOthersAreLoaded) {
  std::mt19937 rng(7);
  const auto a = WeightOnlyLinear::from_float(random_linear(12, 4, rng), spec_of(4), false);
  const auto b = WeightOnlyLinear::from_float(random_linear(12, 4, rng), spec_of(4), false);
  const Tensor x = random_normal({3, 12}, rng);
  ASSERT_NE((*a)(x).data().to_vector<float>(), (*b)(x).data().to_vector<float>());
  NamedArrays state;
  for (const auto& [name, tensor] : b->state()) state.emplace_back(name, tensor.data());
  a->load_state(state);
  EXPECT_EQ((*a)(x).data().to_vector<float>(), (*b)(x).data().to_vector<float>());
}

TEST(WeightOnlyLinear, RefusesWrongInputs) {
  std::mt19937 rng(8);
  const auto layer = WeightOnlyLinear::from_float(random_linear(6, 5, rng), spec_of(4), false);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({2, 6}, DType::uint8))), DTypeError);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({2, 5}))), ShapeError);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({}))), ShapeError);
  WeightOnlyLinear empty({.in_features = 2, .out_features = 2});
  EXPECT_THROW(empty(Tensor(NDArray::zeros({1, 2}))), ValueError);
}

TEST(WeightOnlyLinear, RefusesUnsoundConfigurations) {
  using Config = WeightOnlyLinear::Config;
  const auto expect_refused = [](auto change, const std::string& what) {
    Config config{.in_features = 12, .out_features = 2, .group_size = 4};
    WeightOnlyLinear fits(config);
    change(config);
    try {
      WeightOnlyLinear layer(config);
      ADD_FAILURE() << "accepted: " << what;
    } catch (const ValueError& e) {
      EXPECT_THAT(e.what(), HasSubstr(what));
    }
  };
  for (const int bits : {-1, 0, 1, 9, 32}) expect_refused([&](Config& c) { c.bits = bits; }, str(bits, " bits"));
  for (const int64_t size : {int64_t{-1}, int64_t{0}, int64_t{1} << 40}) {
    expect_refused([&](Config& c) { c.in_features = size; }, str(size));
    expect_refused([&](Config& c) { c.out_features = size; }, str(size));
  }
  expect_refused([&](Config& c) { c.group_size = -4; }, "groups of -4");
}

TEST(WeightOnlyLinear, RefusesUnsoundTensors) {
  const auto load = [](std::vector<float> scale, std::vector<uint8_t> zero_point, std::vector<uint8_t> weight) {
    WeightOnlyLinear layer({.in_features = 3, .out_features = 2, .bits = 3, .scheme = QScheme::affine, .bias = false});
    layer.load_state({{"weight", NDArray::from_vector(weight, {2, 2})},
                      {"weight_scale", NDArray::from_vector(scale)},
                      {"weight_zero_point", NDArray::from_vector(zero_point)}});
  };
  load({1, 2}, {0, 7}, {255, 1, 255, 1});
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    EXPECT_THROW(load({1, bad}, {0, 7}, {255, 1, 255, 1}), ValueError);
  EXPECT_THROW(load({1, 2}, {0, 8}, {255, 1, 255, 1}), ValueError);
  EXPECT_THROW(load({1, 2}, {0, 7}, {255, 1, 255, 3}), ValueError);
}

TEST(WeightOnlyLinear, RefusesFloatLayersThatItCannotHold) {
  std::mt19937 rng(9);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    EXPECT_THROW(WeightOnlyLinear::from_float(nn::Linear(NDArray::full({2, 2}, bad), Tensor()), spec_of(4), false),
                 ValueError);
  const nn::Linear linear = random_linear(12, 2, rng);
  EXPECT_THROW(WeightOnlyLinear::from_float(linear, QuantizationSpec::activation(), false), ValueError);
  EXPECT_THROW(WeightOnlyLinear::from_float(linear, spec_of(9), false), ValueError);
  EXPECT_THROW(WeightOnlyLinear::from_float(linear, spec_of(4, -5), false), ValueError);
  QuantizationSpec along_inputs = spec_of(4);
  along_inputs.axis = 1;
  EXPECT_THROW(WeightOnlyLinear::from_float(linear, along_inputs, false), ValueError);
}

QConfigMapping everywhere(const QuantizationSpec& weight) {
  return QConfigMapping().set_global(QConfig{.weight = weight});
}

struct ConvNet : nn::Module {
  nn::Submodule<nn::Conv2d> conv{this, "conv", 2, 4, 3};
  nn::Submodule<nn::Linear> fc1{this, "fc1", 4 * 4 * 4, 12}, fc2{this, "fc2", 12, 5};
  Tensor forward(const Tensor& x) override { return fc2(relu(fc1(flatten(relu(conv(x)), 1)))); }
};

// Between conv and fc1, images lie channels-last, but the groups are of features in the model's order.
TEST(QuantizeWeightOnly, FlattenedImagesMeetTheirOwnGroups) {
  std::mt19937 rng(10);
  ConvNet net;
  const Tensor x = random_normal({3, 2, 6, 6}, rng);
  const nn::Graph graph = nn::trace(net.eval(), x);
  for (const int64_t group_size : {0, 4}) {
    ConversionReport report;
    nn::Graph small = quantize_weight_only(graph, everywhere(spec_of(4, group_size, QScheme::affine)), &report);
    const NoGrad guard;
    const Tensor hidden = flatten(relu((*net.conv)(x)), 1);
    const Tensor y1 = (*WeightOnlyLinear::from_float(*net.fc1, spec_of(4, group_size, QScheme::affine), true))(hidden);
    const Tensor y = (*WeightOnlyLinear::from_float(*net.fc2, spec_of(4, group_size, QScheme::affine), false))(y1);
    const auto expected = y.data().to_vector<float>(), got = small(x).data().to_vector<float>();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-4);
  }
}

TEST(QuantizeWeightOnly, ReportsWhatStaysFloatAndWhy) {
  std::mt19937 rng(11);
  ConvNet net;
  const nn::Graph graph = nn::trace(net.eval(), random_normal({1, 2, 6, 6}, rng));
  ConversionReport report;
  const nn::Graph small = quantize_weight_only(graph, everywhere(spec_of(3)), &report);
  ASSERT_EQ(report.size(), 3u);
  EXPECT_EQ(report[0].name, "conv");
  EXPECT_EQ(report[0].type, "Conv2dReLU");
  EXPECT_TRUE(report[0].kept_float);
  EXPECT_THAT(report[0].reason, HasSubstr("linear layers"));
  for (const size_t i : {1u, 2u}) {
    EXPECT_FALSE(report[i].kept_float);
    EXPECT_EQ(report[i].weight_bits, 3);
    EXPECT_EQ(report[i].activation_bits, 32);
    EXPECT_EQ(report[i].reason, "");
  }
  EXPECT_EQ(report[1].type, "LinearReLU");
  EXPECT_TRUE(graph.is_layer(graph.find("fc1"), "Linear")) << "the input graph has changed";
  EXPECT_THROW(quantize_weight_only(small, everywhere(spec_of(3))), ValueError) << "nothing is left to do";
}

TEST(QuantizeWeightOnly, TheConfigurationNamesTheObserver) {
  nn::Sequential model(nn::Linear(8, 6));
  const nn::Graph graph = nn::trace(model.eval(), NDArray::zeros({1, 8}));
  QConfig config{.weight = spec_of(3, 4)};
  config.weight_observer = "mse";
  const nn::Graph small = quantize_weight_only(graph, QConfigMapping().set_global(config));
  const auto layer =
      WeightOnlyLinear::from_float(*graph.layer_as<nn::Linear>(graph.find("0")), config.weight, false, "mse");
  for (const auto& [name, array] : arrays_of(*layer))
    EXPECT_EQ(arrays_of(small).at("0." + name).to_vector<float>(), array.to_vector<float>()) << name;
  config.weight_observer = "entropy";
  EXPECT_THAT(error_of([&] { quantize_weight_only(graph, QConfigMapping().set_global(config)); }),
              testing::AllOf(testing::StartsWith("0: "), HasSubstr("unknown observer 'entropy'")));
}

TEST(QuantizeWeightOnly, ALayerThatIsCalledTwiceStaysOne) {
  struct Twice : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 6, 6};
    Tensor forward(const Tensor& x) override { return fc(relu(fc(x))); }
  };
  std::mt19937 rng(12);
  Twice net;
  const Tensor x = random_normal({2, 6}, rng);
  ConversionReport report;
  nn::Graph small = quantize_weight_only(nn::trace(net.eval(), x), everywhere(spec_of(4)), &report);
  EXPECT_EQ(report.size(), 2u);
  for (const LayerReport& entry : report) EXPECT_FALSE(entry.kept_float);
  const auto layer = WeightOnlyLinear::from_float(*net.fc, spec_of(4), false);
  EXPECT_EQ(small(x).data().to_vector<float>(), (*layer)(relu((*layer)(x))).data().to_vector<float>());
}

TEST(QuantizeWeightOnly, NamesTheLayerThatItCannotQuantize) {
  nn::Sequential model(nn::Linear(NDArray::full({2, 2}, std::numeric_limits<float>::infinity()), Tensor()));
  const nn::Graph graph = nn::trace(model.eval(), NDArray::zeros({1, 2}));
  try {
    quantize_weight_only(graph, everywhere(spec_of(4)));
    FAIL() << "no error";
  } catch (const ValueError& e) {
    EXPECT_THAT(e.what(), testing::StartsWith("0: "));
  }
  EXPECT_THROW(quantize_weight_only(graph, everywhere(spec_of(4, -2))), ValueError);
  EXPECT_THROW(quantize_weight_only(graph, everywhere(spec_of(1))), ValueError);
  std::mt19937 rng(13);
  ConvNet net;
  const nn::Graph convolutional = nn::trace(net.eval(), random_normal({1, 2, 6, 6}, rng));
  const nn::Graph all = quantize_weight_only(convolutional, everywhere(spec_of(4, 12)));  // which do not divide 64
  EXPECT_TRUE(all.is_layer(all.find("fc1"), "WeightOnlyLinear"));
  const auto but_one = everywhere(spec_of(4, 12)).set_name("fc1", std::nullopt);
  const nn::Graph small = quantize_weight_only(convolutional, but_one);
  EXPECT_TRUE(small.is_layer(small.find("fc1"), "LinearReLU"));
  EXPECT_TRUE(small.is_layer(small.find("fc2"), "WeightOnlyLinear"));
}

}  // namespace
}  // namespace thimble::quant
