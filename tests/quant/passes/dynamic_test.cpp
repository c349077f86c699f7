#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/quant/conversion.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/shape.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/passes/dynamic.h>

namespace thimble::quant {
namespace {

// dequantize(quantize(x)) of each row of x [rows, in], or of all.
NDArray rounded_input(const NDArray& x, int bits, DynamicRange range) {
  const auto rounded = [bits](const NDArray& values) {
    const QParams p = choose_qparams(values, {.bits = bits});
    return dequantize(quantize(values, p), p);
  };
  if (range == DynamicRange::call) return rounded(x);
  std::vector<Tensor> rows;
  for (int64_t row = 0; row < x.shape(0); ++row) rows.push_back(rounded(x.slice(0, row, row + 1)));
  return concat(rows).data();
}

// x W'^T + b in double, where W' and x' are what the integers stand for.
std::vector<double> reference(const DynamicQuantizedLinear& layer, const NDArray& x, float b, int64_t group_size) {
  const auto xs = rounded_input(x, layer.options().activation_bits, layer.options().range).to_vector<double>();
  const auto w = layer.weights().unpacked().to_vector<double>(),
             scale = layer.weights().scale().data().to_vector<double>();
  const auto in = static_cast<size_t>(layer.weights().shape()[1]),
             out = static_cast<size_t>(layer.weights().shape()[0]);
  const size_t group = group_size == 0 ? in : static_cast<size_t>(group_size), groups = (in + group - 1) / group;
  std::vector<double> y;
  for (size_t row = 0; row < xs.size() / in; ++row)
    for (size_t o = 0; o < out; ++o) {
      double sum = b;
      for (size_t i = 0; i < in; ++i) sum += xs[row * in + i] * w[o * in + i] * scale[o * groups + i / group];
      y.push_back(sum);
    }
  return y;
}

ProductWeights random_weights(const Shape& shape, std::mt19937& rng, int bits, int64_t group_size, float b) {
  const NDArray weight = random_normal(shape, rng);
  QuantizationSpec spec = QuantizationSpec::per_channel_weight(bits);
  spec.group_size = group_size;
  return {weight, NDArray::full({shape[0]}, b), choose_qparams(weight, spec)};
}

constexpr DynamicRange kRanges[] = {DynamicRange::row, DynamicRange::call};

TEST(DynamicQuantizedLinear, IsWhatItsIntegersSayOnEveryMachine) {
  std::mt19937 rng(1);
  for (const DynamicRange range : kRanges)
    for (const int bits : {2, 4, 7, 8})
      for (const int64_t group_size : {0, 4, 7, 20, 64})
        for (const int64_t rows : {1, 3, 70}) {
          const int activation_bits = bits == 4 ? 5 : 8;
          const auto layer = DynamicQuantizedLinear::from_weights(random_weights({37, 20}, rng, bits, group_size, 0.7f),
                                                                  activation_bits, false, range);
          const NDArray x = random_normal({rows, 20}, rng, 3);
          const auto expected = reference(*layer, x, 0.7f, group_size);
          const auto first = (*layer)(Tensor(x)).data().to_vector<float>();
          on_every_machine([&] {
            const auto fresh = nn::copy_layer(*layer);
            EXPECT_EQ((*fresh)(Tensor(x)).data().to_vector<float>(), first);
          });
          // Of one range for all, the bias is rounded to a multiple of a sum's unit.
          const auto steps = layer->weights().steps();
          const float unit = range == DynamicRange::row ? 0
                                                        : *std::ranges::max_element(steps) *
                                                              choose_qparams(x, {.bits = activation_bits}).scale[0];
          for (size_t i = 0; i < first.size(); ++i)
            EXPECT_NEAR(first[i], expected[i], 0.5 * unit + 1e-5 * (1 + std::abs(expected[i])));
        }
}

// As static and weight-only layers keep it: a channel that was pruned, or that says next to nothing.
TEST(DynamicQuantizedLinear, AChannelWithoutWeightsGivesItsBiasWhateverTheInput) {
  std::mt19937 rng(12);
  constexpr float kBias = 0.37f;
  for (const DynamicRange range : kRanges)
    for (const int bits : {2, 4, 8})
      for (const int64_t group_size : {0, 8, 7})
        for (const float size : {1e-3f, 1.0f, 10.0f, 100.0f, 255.0f, 1e6f}) {
          ProductWeights w = random_weights({5, 20}, rng, bits, group_size, kBias);
          float* rows = w.weight.mutable_data().data<float>();
          std::fill_n(rows + 20, 20, 0.0f);    // channel 1: nothing
          std::fill_n(rows + 40, 20, 1e-30f);  // channel 2: next to nothing
          std::fill_n(rows + 60, 8, 0.0f);     // channel 3: nothing at the beginning
          const QParams all = choose_qparams(w.weight.data(), w.qparams.spec);
          w.qparams = all;
          const auto layer = DynamicQuantizedLinear::from_weights(w, 8, false, range);
          const NDArray x = random_normal({3, 20}, rng, size);
          const auto y = (*layer)(Tensor(x)).data().to_vector<float>();
          const auto expected = reference(*layer, x, kBias, group_size);
          for (size_t i = 0; i < y.size(); ++i) {
            if (i % 5 == 1) {
              EXPECT_EQ(y[i], kBias);
            } else if (i % 5 == 2) {
              EXPECT_NEAR(y[i], kBias, 1e-6);
            }
            // A channel that says nothing does not spoil the others.
            EXPECT_NEAR(y[i], expected[i], 1e-5 * (1 + std::abs(expected[i]) + size)) << bits << ' ' << size;
          }
        }
}

TEST(DynamicQuantizedConv2d, AChannelWithoutWeightsGivesItsBiasWhateverTheInput) {
  std::mt19937 rng(13);
  for (const DynamicRange range : kRanges)
    for (const int bits : {2, 4, 8})
      for (const int64_t groups : {1, 4})
        for (const float size : {1e-3f, 10.0f, 255.0f}) {
          ProductWeights w = random_weights({4, 4 / groups, 3, 3}, rng, bits, 0, 0.37f);
          float* rows = w.weight.mutable_data().data<float>();
          std::fill_n(rows + w.weight.numel() / 4, w.weight.numel() / 4, 0.0f);
          w.qparams = choose_qparams(w.weight.data(), w.qparams.spec);
          const auto layer = DynamicQuantizedConv2d::from_weights(w, {.padding = 1, .groups = groups}, 8, false, range);
          const NDArray y = (*layer)(Tensor(random_normal({2, 4, 5, 5}, rng, size))).data();
          for (const float v : y.slice(1, 1, 2).to_vector<float>()) EXPECT_EQ(v, 0.37f) << bits << ' ' << size;
        }
}

// A weight of 1, so that the output is the quantized input.
TEST(DynamicQuantizedLinear, TheInputHasTheParametersThatItsRangeHasEverywhere) {
  std::mt19937 rng(7);
  const QuantizationSpec weight = QuantizationSpec::per_channel_weight();
  for (const int bits : {2, 5, 8}) {
    const ProductWeights one{NDArray::ones({1, 1}), Tensor(), {weight, {1}, {0}}};
    const auto identity = DynamicQuantizedLinear::from_weights(one, bits, false, DynamicRange::call);
    const NDArray diagonal = NDArray::from_vector<float>({1, 0, 0, 0, 1, 0, 0, 0, 1}, {3, 3});
    const auto of_rows = DynamicQuantizedLinear::from_weights({diagonal, Tensor(), {weight, {1, 1, 1}, {0, 0, 0}}},
                                                              bits, false, DynamicRange::row);
    for (int trial = 0; trial < 200; ++trial) {
      const NDArray x = random_normal({9, 1}, rng, std::ldexp(1.0f, static_cast<int>(rng() % 200) - 100));
      EXPECT_EQ((*identity)(Tensor(x)).data().to_vector<float>(),
                rounded_input(x, bits, DynamicRange::call).to_vector<float>());
      const NDArray rows = x.reshape({3, 3});
      EXPECT_EQ((*of_rows)(Tensor(rows)).data().to_vector<float>(),
                rounded_input(rows, bits, DynamicRange::row).to_vector<float>());
    }
  }
}

TEST(DynamicQuantizedLinear, ReluCutsAndABiasThatDwarfsTheSumsIsKept) {
  std::mt19937 rng(2);
  const auto cut = DynamicQuantizedLinear::from_weights(random_weights({9, 6}, rng, 8, 0, -0.5f), 8, true);
  float least = 1, most = 0;
  for (const float y : (*cut)(Tensor(random_normal({50, 6}, rng))).data().to_vector<float>()) {
    least = std::min(least, y);
    most = std::max(most, y);
  }
  EXPECT_EQ(least, 0);
  EXPECT_GT(most, 0);
  ProductWeights w = random_weights({9, 6}, rng, 8, 0, 1000);
  const auto biased = DynamicQuantizedLinear::from_weights(w, 8, false);
  for (const float y : (*biased)(Tensor(NDArray::full({2, 6}, 1e-12))).data().to_vector<float>())
    EXPECT_NEAR(y, 1000, 1e-3);
  for (const float y : (*biased)(Tensor(NDArray::zeros({2, 6}))).data().to_vector<float>()) EXPECT_NEAR(y, 1000, 1e-3);
}

TEST(DynamicQuantizedLinear, ValuesThatAreNotFiniteMakeNaNOfWhatSharesTheirRange) {
  std::mt19937 rng(3);
  for (const DynamicRange range : kRanges) {
    const auto layer = DynamicQuantizedLinear::from_weights(random_weights({5, 6}, rng, 8, 0, 0), 8, true, range);
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      NDArray x = random_normal({3, 6}, rng);
      x.data<float>()[7] = bad;
      const auto y = (*layer)(Tensor(x)).data().to_vector<float>();
      for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), range == DynamicRange::call || i / 5 == 1) << i;
    }
    EXPECT_EQ((*layer)(Tensor(NDArray({0, 6}))).shape(), Shape({0, 5}));
  }
}

TEST(DynamicQuantizedConv2d, ValuesThatAreNotFiniteMakeNaNOfTheirSample) {
  std::mt19937 rng(3);
  const auto layer = DynamicQuantizedConv2d::from_weights(random_weights({5, 2, 3, 3}, rng, 8, 0, 0), {}, 8, true);
  NDArray x = random_normal({3, 2, 6, 6}, rng);
  x.data<float>()[1 * 72 + 5] = std::nanf("");
  const auto y = (*layer)(Tensor(x)).data().to_vector<float>();
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / (5 * 16) == 1) << i;
}

// Files of before there was a choice say nothing.
TEST(DynamicQuantizedLinear, AttributesWithoutARangeMeanOneForEachCall) {
  std::mt19937 rng(15);
  const auto layer = DynamicQuantizedLinear::from_weights(random_weights({5, 6}, rng, 8, 0, 0), 8, true);
  Attributes with = layer->attributes(), without;
  EXPECT_EQ(with.get<std::string>("dynamic_range"), "row");
  for (const auto& [key, value] : with)
    if (key != "dynamic_range") without.set(key, value);
  EXPECT_EQ(DynamicProduct::options_from(with).range, DynamicRange::row);
  EXPECT_EQ(DynamicProduct::options_from(without).range, DynamicRange::call);
  with.set("dynamic_range", std::string("column"));
  EXPECT_THROW(DynamicProduct::options_from(with), FormatError);
}

TEST(DynamicQuantizedLinear, BadArgumentsAreErrors) {
  std::mt19937 rng(4);
  const auto layer = DynamicQuantizedLinear::from_weights(random_weights({5, 6}, rng, 8, 0, 0), 8, false);
  EXPECT_THROW((*layer)(Tensor(NDArray::ones({2, 7}))), ShapeError);
  EXPECT_THROW((*layer)(Tensor(NDArray::ones({2, 6}, DType::uint8))), DTypeError);
  EXPECT_THROW(DynamicQuantizedLinear(6, 5, {.activation_bits = 9}), ValueError);
  EXPECT_THROW(DynamicQuantizedLinear(6, 5, {.weight = {.bits = 1}}), ValueError);
  EXPECT_THROW(DynamicQuantizedLinear(6, 5, {.weight = {.bits = 8, .group_size = -4}}), ValueError);
  EXPECT_THROW(DynamicQuantizedConv2d({6, 2, 3, 3}, {.groups = 4}, {}), ShapeError);
  EXPECT_THROW(DynamicQuantizedConv2d({6, 2, 3, 3}, {}, {.weight = {.bits = 8, .group_size = 2}}), ValueError);
  ProductWeights bad = random_weights({5, 6}, rng, 8, 0, std::nanf(""));
  EXPECT_THROW(DynamicQuantizedLinear::from_weights(bad, 8, false), ValueError);
}

TEST(DynamicQuantizedLinear, LoadedScalesMustLeaveUnitsThatFloatsCanHold) {
  const auto load = [](int bits, float scale) {
    DynamicQuantizedLinear layer(4, 1, {.weight = {.bits = bits}});
    const NDArray weight = bits == 8 ? NDArray::ones({1, 4}, DType::int8) : NDArray::ones({1, bits / 2}, DType::uint8);
    layer.load_state(
        NamedArrays{{"weight", weight}, {"weight_scale", NDArray::full({1}, scale)}, {"bias", NDArray::zeros({1})}});
  };
  constexpr float kSmallest = std::numeric_limits<float>::min();
  for (const int bits : {2, 4, 8}) {
    const float least = kSmallest * static_cast<float>(1 << (8 - bits));
    EXPECT_NO_THROW(load(bits, least));
    for (const float bad : {0.99f * least, 1e-45f, 0.0f, -1.0f, std::nanf("")})
      EXPECT_THROW(load(bits, bad), ValueError) << bad;
  }
}

TEST(DynamicQuantizedLinear, WeightsThatAreNextToNothingAreQuantizedAllTheSame) {
  std::mt19937 rng(6);
  for (const int bits : {2, 4, 8})
    for (const int64_t group_size : {0, 5}) {
      NDArray weight = random_normal({3, 20}, rng);
      for (int64_t i = 0; i < 20; ++i) weight.data<float>()[i] *= 1e-40f;
      for (int64_t i = 25; i < 30; ++i) weight.data<float>()[i] *= 1e-40f;
      QuantizationSpec spec = QuantizationSpec::per_channel_weight(bits);
      spec.group_size = group_size;
      const ProductWeights w{weight, NDArray::full({3}, 0.5), choose_qparams(weight, spec)};
      const NDArray x = random_normal({2, 20}, rng);
      const auto y = (*DynamicQuantizedLinear::from_weights(w, 8, false))(Tensor(x)).data().to_vector<float>();
      for (const size_t i : {0u, 3u}) EXPECT_NEAR(y[i], 0.5, 1e-6) << bits << " bits";
      const auto fixed = QuantizedLinear::from_weights(w, {0.02f, 100, 8}, std::nullopt, false);
      for (const float v : (*fixed)(Tensor(random_bytes({2, 20}, rng))).data().to_vector<float>())
        EXPECT_TRUE(std::isfinite(v));
    }
}

struct MixedNet : nn::Module {
  nn::Submodule<nn::ConvBNReLU> block{this, "block", 2, 8, 3, nn::Conv2d::Options{.padding = 1}};
  nn::Submodule<nn::Conv2d> conv{this, "conv", 8, 8, 3, {.stride = 2, .padding = 1, .groups = 8}};
  nn::Submodule<nn::Linear> fc1{this, "fc1", 8 * 2 * 2, 16};
  nn::Submodule<nn::Linear> fc2{this, "fc2", 16, 4};
  Tensor forward(const Tensor& x) override { return fc2(relu(fc1(flatten(max_pool2d(conv(block(x)), 2), 1)))); }
};

class DynamicTest : public QuantizeTest {};

TEST_F(DynamicTest, AGraphOfEveryGranularityStaysCloseToItsFloats) {
  MixedNet net;
  const Graph graph = traced(net, {12, 2, 8, 8});
  for (const char* granularity : {"tensor", "channel", "group"}) {
    QConfig config;
    if (granularity == std::string("tensor")) config.weight.axis = std::nullopt;
    if (granularity == std::string("group")) config.weight.group_size = 8;
    Converted result;
    result.graph = quantize_dynamic(graph, QConfigMapping().set_global(config), &result.report);
    EXPECT_GT(sqnr(graph, result), 25) << granularity;
    ASSERT_EQ(result.report.size(), 4u);
    for (const LayerReport& entry : result.report) EXPECT_FALSE(entry.kept_float) << entry.name;
    // Node by node and on the executor.
    const std::vector<Tensor> inputs{Tensor(data)};
    Graph copy = result.graph.clone();
    EXPECT_EQ(result.graph(inputs[0]).data().to_vector<float>(), copy.run_all(inputs).back().data().to_vector<float>());
  }
}

QConfigMapping with_range(DynamicRange range) {
  QConfig config;
  config.dynamic_range = range;
  return QConfigMapping().set_global(config);
}

TEST_F(DynamicTest, RangesOfRowsMakeSamplesIndependentOfTheirBatch) {
  MixedNet net;
  const Graph graph = traced(net, {12, 2, 8, 8});
  Graph of_rows = quantize_dynamic(graph, with_range(DynamicRange::row));
  for (int64_t i = 0; i < 12; ++i)
    data.slice(0, i, i + 1).copy_from((Tensor(data.slice(0, i, i + 1)) * (1.0 + i)).data());
  expect_deterministic(of_rows);
  Graph of_calls = quantize_dynamic(graph, with_range(DynamicRange::call));
  const NDArray alone = of_calls(Tensor(data.slice(0, 0, 1))).data(), together = of_calls(Tensor(data)).data();
  EXPECT_NE(alone.to_vector<float>(), together.slice(0, 0, 1).to_vector<float>());
}

// Rows are those of the last axis, as of tokens in sentences.
TEST_F(DynamicTest, EachRowOfTheLastAxisHasItsOwnRange) {
  nn::Sequential linear(nn::Linear(6, 5));
  for (const Shape& shape : {Shape{4, 3, 6}, Shape{2, 3, 2, 6}}) {
    const Graph graph = traced(linear, shape);
    Graph dynamic = quantize_dynamic(graph);
    const NDArray rows = data.reshape({data.numel() / 6, 6});
    std::vector<float> expected;
    for (int64_t row = 0; row < rows.shape(0); ++row)
      for (const float v : quantize_dynamic(graph)(Tensor(rows.slice(0, row, row + 1))).data().to_vector<float>())
        expected.push_back(v);
    EXPECT_EQ(dynamic(Tensor(data)).data().to_vector<float>(), expected) << shape;
  }
}

TEST_F(DynamicTest, LayersThatTheMappingKeepsStayFloat) {
  MixedNet net;
  const Graph graph = traced(net, {12, 2, 8, 8});
  QConfigMapping mapping = QConfigMapping::static_int8();
  mapping.set_name("fc2", std::nullopt).set_type("Conv2d", std::nullopt);
  ConversionReport report;
  const Graph result = quantize_dynamic(graph, mapping, &report);
  for (const LayerReport& entry : report) EXPECT_EQ(entry.kept_float, entry.name != "fc1") << entry.name;
  EXPECT_TRUE(result.is_layer(result.find("fc1"), "DynamicQuantizedLinear"));
  EXPECT_THROW(quantize_dynamic(graph, QConfigMapping().set_name("fc7", QConfig())), ValueError);
  QConfig seven;
  seven.weight.group_size = 7;  // which does not divide 32 features
  EXPECT_TRUE(quantize_dynamic(graph, QConfigMapping().set_global(seven)).find("fc1"));
  seven.weight.group_size = -7;
  try {
    quantize_dynamic(graph, QConfigMapping().set_global(seven));
    ADD_FAILURE() << "groups of -7";
  } catch (const ValueError& e) {
    EXPECT_EQ(std::string(e.what()).find("fc1: "), 0u) << e.what();
  }
}

// The sum over groups of integer products, each times its own scale.
TEST(GroupedQuantizedLinear, IsTheSumOfItsGroupsOnEveryMachine) {
  std::mt19937 rng(5);
  for (const int64_t group_size : {3, 7, 8, 23, 24, 100})
    for (const int64_t out : {5, 16, 130})
      for (const int64_t rows : {1, 33}) {
        const ProductWeights w = random_weights({out, 24}, rng, 5, group_size, 0.3f);
        const TensorQParams input{0.02f, 100, 8}, output{0.5f, 128, 8};
        const NDArray x = random_bytes({rows, 24}, rng);
        for (const bool integer : {false, true})
          for (const bool relu : {false, true}) {
            const auto layer =
                QuantizedLinear::from_weights(w, input, integer ? std::optional(output) : std::nullopt, relu);
            const auto weight = layer->weights().unpacked().to_vector<int32_t>();
            const auto bias = arrays_of(*layer).at("bias").to_vector<int32_t>();
            const auto pixels = x.to_vector<int32_t>();
            std::vector<float> expected;
            for (int64_t row = 0; row < rows; ++row)
              for (int64_t o = 0; o < out; ++o) {
                float v = 0;
                for (int64_t g = 0; g * group_size < 24; ++g) {
                  int32_t sum = g == 0 ? bias[static_cast<size_t>(o)] : 0;
                  for (int64_t i = g * group_size; i < std::min<int64_t>((g + 1) * group_size, 24); ++i)
                    sum +=
                        (pixels[static_cast<size_t>(row * 24 + i)] - 100) * weight[static_cast<size_t>(o * 24 + i)] * 8;
                  const float part = static_cast<float>(sum) * layer->multiplier()[static_cast<size_t>(g * out + o)];
                  v = g == 0 ? part : v + part;
                }
                if (integer)
                  expected.push_back(std::clamp(std::nearbyint(v) + 128, relu ? 128.0f : 0.0f, 255.0f));
                else
                  expected.push_back(relu ? std::max(v, 0.0f) : v);
              }
            on_every_machine([&] {
              const auto fresh = nn::copy_layer(*layer);
              EXPECT_EQ((*fresh)(Tensor(x)).data().to_vector<float>(), expected);
            });
          }
      }
}

}  // namespace
}  // namespace thimble::quant
