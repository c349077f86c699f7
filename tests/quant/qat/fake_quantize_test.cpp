#include <cmath>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/quant/reference.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/quant/qat/fake_quantize.h>

namespace thimble::quant {
namespace {

using nlohmann::json;

json torch_file() {
  std::ifstream file(std::string(THIMBLE_TEST_DATA) + "/torch_fake_quantize_cases.json");
  return json::parse(file);
}

json torch_fake_quantize_cases() { return torch_file()["cases"]; }

QuantizationSpec spec_of_torch(const json& c) {
  QuantizationSpec spec{.bits = c["bits"], .is_signed = c["signed"]};
  if (!c["axis"].is_null()) spec.axis = c["axis"].get<int>();
  return spec;
}

NDArray array_of(const json& values, const Shape& shape) {
  return NDArray::from_vector(values.get<std::vector<float>>(), shape);
}

void expect_near(const NDArray& got, const json& expected, float tolerance, const std::string& what) {
  const auto values = got.to_vector<float>();
  const auto wanted = expected.get<std::vector<float>>();
  ASSERT_EQ(values.size(), wanted.size()) << what;
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], wanted[i], tolerance) << what << ' ' << i;
}

TEST(FakeQuantizeOp, ValuesAndStraightThroughGradientsArePyTorchs) {
  for (const json& c : torch_fake_quantize_cases()) {
    const Shape shape(c["shape"].get<std::vector<int64_t>>());
    const Tensor x(array_of(c["x"], shape), true);
    const QParams p{spec_of_torch(c), c["scale"].get<std::vector<float>>(),
                    c["zero_point"].get<std::vector<int32_t>>()};
    const Tensor y = fake_quantize(x, p);
    y.backward(array_of(c["out_grad"], shape));
    expect_near(y.data(), c["y"], 1e-6f, "y");
    expect_near(x.grad().data(), c["x_grad"], 0, "x_grad");
  }
}

// PyTorch multiplies by the scale's reciprocal, where integers come from a division.
TEST(FakeQuantizeOp, DiffersFromPyTorchNextToTheMiddleOfTwoStepsAloneAndThenByOne) {
  int differ = 0, all = 0;
  const json near_ties = torch_file()["near_ties"];
  for (const json& c : near_ties) {
    const auto x = c["x"].get<std::vector<float>>(), torch = c["y"].get<std::vector<float>>();
    const auto scale = c["scale"].get<float>();
    const QParams p{{}, {scale}, {0}};
    const NDArray values = NDArray::from_vector(x);
    const auto got = fake_quantize(Tensor(values), p).data().to_vector<float>();
    EXPECT_EQ(got, dequantize(quantize(values, p), p).to_vector<float>());
    for (size_t i = 0; i < x.size(); ++i, ++all) {
      if (got[i] == torch[i]) continue;
      ++differ;
      EXPECT_NEAR(std::abs(got[i] - torch[i]), scale, 1e-5 * scale * 255);
      const double steps = double{x[i]} / double{scale};
      EXPECT_NEAR(steps - std::floor(steps), 0.5, 1e-6 * steps) << x[i];
    }
  }
  EXPECT_GT(differ, 0);
  EXPECT_LT(differ, all / 2);
}

TEST(FakeQuantizeOp, GradientsOfLearnedScalesArePyTorchs) {
  for (const json& c : torch_fake_quantize_cases()) {
    const Shape shape(c["shape"].get<std::vector<int64_t>>());
    const Tensor x(array_of(c["x"], shape), true);
    const auto channels = static_cast<int64_t>(c["scale"].size());
    const Tensor scale(array_of(c["scale"], {channels}), true);
    const Tensor y = fake_quantize(x, scale, c["zero_point"].get<std::vector<int32_t>>(), spec_of_torch(c),
                                   c["grad_factor"].get<double>());
    y.backward(array_of(c["out_grad"], shape));
    expect_near(x.grad().data(), c["learned_x_grad"], 0, "x_grad");
    expect_near(scale.grad().data(), c["scale_grad"], 2e-5f, "scale_grad");
  }
}

// y = s * q: within the range q is round(x / s), whose derivative with respect to s is taken to be that of x / s, so
// dy/ds = q + s * (-x / s^2); outside q does not move.
TEST(FakeQuantizeOp, GradientsFollowFromTheDefinitionByHand) {
  const QuantizationSpec spec{.bits = 2, .is_signed = true, .scheme = QScheme::symmetric};  // -1, 0, 1
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensor x(NDArray::from_vector<double>({0.2, 0.3, -0.4, 0.7, -2, 0.75}).to(dtype), true);
    const Tensor scale(NDArray::full({1}, 0.5, dtype), true);
    const Tensor y = fake_quantize(x, scale, {0}, spec, 0.25);
    EXPECT_EQ(y.data().to_vector<double>(), (std::vector<double>{0, 0.5, -0.5, 0.5, -0.5, 0.5}));
    const NDArray g = NDArray::from_vector<double>({1, 2, 3, 4, 5, 6}).to(dtype);
    y.backward(g);
    // 0.7 / 0.5 = 1.4 rounds to 1 and is inside; 0.75 / 0.5 = 1.5 rounds to 2 and is not.
    EXPECT_EQ(x.grad().data().to_vector<double>(), (std::vector<double>{1, 2, 3, 4, 0, 0}));
    const double expected = 1 * (0 - 0.4) + 2 * (1 - 0.6) + 3 * (-1 + 0.8) + 4 * (1 - 1.4) + 5 * -1.0 + 6 * 1.0;
    EXPECT_NEAR(scale.grad().item<double>(), 0.25 * expected, 1e-6);
  }
}

TEST(FakeQuantizeOp, IsDequantizeOfQuantizeForEverySpec) {
  std::mt19937 rng(3);
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool is_signed : {false, true})
      for (const QScheme scheme : {QScheme::affine, QScheme::symmetric})
        for (const int64_t group_size : {-1, 0, 3, 5, 20}) {
          QuantizationSpec spec{.bits = bits, .is_signed = is_signed, .scheme = scheme};
          if (group_size >= 0) spec.axis = 0;
          spec.group_size = std::max<int64_t>(group_size, 0);
          const NDArray x = random_normal({5, 12}, rng);
          const QParams p = choose_qparams(x, spec);
          const auto expected = dequantize(quantize(x, p), p).to_vector<float>();
          EXPECT_EQ(fake_quantize(Tensor(x), p).data().to_vector<float>(), expected) << bits;
        }
}

// Where a product with the scale's reciprocal would round many values to the other step.
TEST(FakeQuantizeOp, IsDequantizeOfQuantizeNextToTheMiddleOfTwoStepsOnEveryMachine) {
  std::mt19937 rng(9);
  const QuantizationSpec specs[] = {QuantizationSpec::activation(), {.bits = 8, .is_signed = true}, {.bits = 4}};
  for (const QuantizationSpec& spec : specs)
    for (int i = 0; i < 40; ++i) {
      const QParams p{spec,
                      {std::ldexp(1 + static_cast<float>(rng() % 4096) / 4096, static_cast<int>(rng() % 20) - 10)},
                      {spec.qmin() + static_cast<int32_t>(rng() % 8)}};
      std::vector<float> values{290.5093994140625f};
      for (int32_t q = spec.qmin() - 1; q <= spec.qmax(); ++q) {
        const float middle = p.scale[0] * (static_cast<float>(q - p.zero_point[0]) + 0.5f);
        for (const float v : {std::nextafter(middle, -1e9f), middle, std::nextafter(middle, 1e9f)}) values.push_back(v);
      }
      const NDArray x = NDArray::from_vector(values), g = NDArray::ones(x.shape());
      const NDArray q = quantize(x, p);
      const auto expected = dequantize(q, p).to_vector<float>();
      on_every_machine([&] {
        const Tensor leaf(x, true), scale(NDArray::from_vector(p.scale), true);
        EXPECT_EQ(fake_quantize(leaf, scale, p.zero_point, spec).data().to_vector<float>(), expected);
        fake_quantize(leaf, p).backward(g);
        const auto grad = leaf.grad().data().to_vector<float>();
        for (size_t k = 0; k < values.size(); ++k) {
          // Inside: where integers of more bits would be the same one.
          const double steps = std::nearbyint(double{values[k] / p.scale[0]}) + p.zero_point[0];
          EXPECT_EQ(grad[k], steps >= spec.qmin() && steps <= spec.qmax() ? 1 : 0) << values[k];
        }
      });
    }
  const QParams p{{}, {4.8825111389160156f}, {0}};
  const Tensor y = fake_quantize(Tensor(NDArray::full({1}, 290.5093994140625)), p);
  EXPECT_EQ(y.item<float>(), 59 * p.scale[0]);
}

TEST(FakeQuantizeOp, MemoryLayoutDoesNotMatter) {
  std::mt19937 rng(4);
  const NDArray x = random_normal({2, 3, 4, 5}, rng);
  const NDArray channels_last = x.permute({0, 2, 3, 1}).contiguous().permute({0, 3, 1, 2});
  const NDArray g = random_normal({2, 3, 4, 5}, rng);
  for (const std::optional<int> axis : {std::optional<int>(), std::optional<int>(1)}) {
    const QParams p = choose_qparams(x, {.bits = 4, .axis = axis});
    const Tensor a(x, true), b(channels_last, true);
    const Tensor ya = fake_quantize(a, p), yb = fake_quantize(b, p);
    ya.backward(g);
    yb.backward(g);
    EXPECT_EQ(ya.data().to_vector<float>(), yb.data().to_vector<float>());
    EXPECT_EQ(a.grad().data().to_vector<float>(), b.grad().data().to_vector<float>());
  }
}

TEST(FakeQuantizeOp, IsTheSameOnEveryInstructionSetAndThreadCount) {
  std::mt19937 rng(5);
  const NDArray x = random_normal({100'003}, rng), g = random_normal({100'003}, rng);
  const QParams p = choose_qparams(x, {.bits = 4});
  const auto expected = fake_quantize(Tensor(x), p).data().to_vector<float>();
  on_every_machine([&] {
    const Tensor leaf(x, true), scale(NDArray::from_vector(p.scale), true);
    const Tensor y = fake_quantize(leaf, scale, p.zero_point, p.spec);
    EXPECT_EQ(y.data().to_vector<float>(), expected);
    y.backward(g);
    double sum = 0;
    const auto xs = x.to_vector<float>(), gs = g.to_vector<float>();
    for (size_t i = 0; i < xs.size(); ++i) sum += double{gs[i]} * (double{expected[i]} - xs[i]) / p.scale[0];
    EXPECT_NEAR(scale.grad().item<float>(), sum, 1e-2);
  });
}

TEST(FakeQuantizeOp, BadArgumentsAreErrors) {
  const Tensor x(NDArray::ones({2, 3}));
  const QuantizationSpec spec{.bits = 4};
  const auto scale = [](float s) { return Tensor(NDArray::full({1}, s)); };
  EXPECT_THROW(fake_quantize(x, scale(0), {0}, spec), ValueError);
  EXPECT_THROW(fake_quantize(x, scale(-1), {0}, spec), ValueError);
  EXPECT_THROW(fake_quantize(x, scale(std::nanf("")), {0}, spec), ValueError);
  EXPECT_THROW(fake_quantize(x, scale(1), {16}, spec), ValueError);
  EXPECT_THROW(fake_quantize(x, scale(1), {0, 0}, spec), ShapeError);
  EXPECT_THROW(fake_quantize(x, scale(1), {0}, {.bits = 9}), ValueError);
  EXPECT_THROW(fake_quantize(x, scale(1), {0}, {.bits = 4, .axis = 0}), ShapeError);
  EXPECT_THROW(fake_quantize(x, NDArray::ones({1}, DType::float64), {0}, spec), DTypeError);
  EXPECT_THROW(choose_qparams(x.data(), {.bits = 4, .axis = 0, .group_size = -2}), ValueError);
  const Tensor leaf(NDArray::ones({3}), true);
  EXPECT_THROW(sum(fake_quantize(leaf, scale(1), {0}, spec)).backward({.create_graph = true}), ValueError);
}

TEST(FakeQuantizeLayer, FollowsWhatPassesInTrainingAlone) {
  FakeQuantize layer({.spec = QuantizationSpec::activation(), .observer = make_observer("moving-average", {})});
  const auto ramp = [](float high) { return Tensor(NDArray::from_vector<float>({0, high})); };
  layer.eval();
  EXPECT_THROW(layer(ramp(1)), ValueError);  // nothing seen
  layer.train();
  layer(ramp(255));
  EXPECT_FLOAT_EQ(layer.qparams().scale[0], 1);
  layer(ramp(355));
  EXPECT_FLOAT_EQ(layer.qparams().scale[0], 256.0f / 255);
  layer.eval();
  layer(ramp(1000));
  EXPECT_FLOAT_EQ(layer.qparams().scale[0], 256.0f / 255);
  layer.train();
  layer.set_observing(false);
  layer(ramp(1000));
  EXPECT_FLOAT_EQ(layer.qparams().scale[0], 256.0f / 255);
  EXPECT_FLOAT_EQ(layer(ramp(1000)).data().to_vector<float>()[1], 256);
  layer.set_quantizing(false);
  EXPECT_FLOAT_EQ(layer(ramp(1000)).data().to_vector<float>()[1], 1000);
}

TEST(FakeQuantizeLayer, StartsLearnedScalesAsThePaperSays) {
  FakeQuantize layer({.spec = QuantizationSpec::activation(4), .learned = true});
  layer(Tensor(NDArray::from_vector<float>({0, 1, 2, 5})));
  EXPECT_FLOAT_EQ(layer.qparams().scale[0], 2 * 2.0f / std::sqrt(15.0f));
  EXPECT_EQ(layer.qparams().zero_point[0], 0);
  EXPECT_EQ(layer.parameters().size(), 1u);
  layer(Tensor(NDArray::full({4}, 100)));  // learned from now on
  EXPECT_FLOAT_EQ(layer.qparams().scale[0], 2 * 2.0f / std::sqrt(15.0f));
  EXPECT_DOUBLE_EQ(lsq_grad_factor(60, 15), 1 / std::sqrt(60.0 * 15));
}

TEST(FakeQuantizeLayer, LearnedScalesWaitForABatchThatIsNotAllZeros) {
  const NDArray values = NDArray::from_vector<float>({-1, 1, 2, 5}), zeros = NDArray::zeros({4});
  FakeQuantize at_once({.spec = QuantizationSpec::activation(4), .learned = true, .batched = true}),
      later({.spec = QuantizationSpec::activation(4), .learned = true, .batched = true});
  at_once(Tensor(values));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(later(Tensor(zeros)).data().to_vector<float>(), zeros.to_vector<float>());
  EXPECT_FALSE(later.has_qparams());
  EXPECT_THROW(later.qparams(), ValueError);
  EXPECT_EQ(later(Tensor(values)).data().to_vector<float>(), at_once(Tensor(values)).data().to_vector<float>());
  EXPECT_EQ(later.qparams().scale, at_once.qparams().scale);
  EXPECT_EQ(later.qparams().zero_point, at_once.qparams().zero_point);
  EXPECT_GT(later.qparams().zero_point[0], 0);
}

TEST(FakeQuantizeLayer, ChannelsOfZerosBeginAtTheScaleOfTheOthers) {
  FakeQuantize layer({.spec = QuantizationSpec::per_channel_weight(4), .learned = true, .channels = 3});
  layer(Tensor(NDArray::from_vector<float>({0.1f, -0.2f, 0, 0, 0.3f, 0.2f}, {3, 2})));
  const std::vector<float> scale = layer.qparams().scale;
  EXPECT_FLOAT_EQ(scale[1], (scale[0] + scale[2]) / 2);
}

// Q_P counts from the zero point: the same integers have the same start and the same gradient, whatever their names.
TEST(FakeQuantizeLayer, LearnedScalesDoNotDependOnTheSignOfIntegers) {
  const NDArray values = NDArray::from_vector<float>({0, 1, 2, 5, 3, 0.5});
  for (const QScheme scheme : {QScheme::affine, QScheme::symmetric}) {
    std::vector<float> scales, gradients;
    for (const bool is_signed : {false, true}) {
      FakeQuantize layer({.spec = {.bits = 4, .is_signed = is_signed, .scheme = scheme}, .learned = true});
      sum(layer(Tensor(values))).backward();
      scales.push_back(layer.qparams().scale[0]);
      gradients.push_back(layer.parameters().at(0).grad().item<float>());
    }
    EXPECT_FLOAT_EQ(scales[0], scales[1]);
    EXPECT_FLOAT_EQ(gradients[0], gradients[1]);
    EXPECT_FLOAT_EQ(scales[0], 2 * 11.5f / 6 / std::sqrt(scheme == QScheme::affine ? 15.0f : 7.0f));
  }
}

TEST(FakeQuantizeLayer, AMeanLossOfTheSameSampleOftenIsThatOfOne) {
  std::mt19937 rng(8);
  const NDArray sample = random_normal({1, 12}, rng);
  std::vector<float> gradients;
  for (const int64_t copies : {1, 16}) {
    FakeQuantize layer({.spec = QuantizationSpec::activation(4), .learned = true, .batched = true});
    const Tensor x(sample.broadcast_to({copies, 12}).contiguous());
    mean(layer(x)).backward();
    gradients.push_back(layer.parameters().at(0).grad().item<float>());
  }
  EXPECT_NE(gradients[0], 0);
  EXPECT_NEAR(gradients[1], gradients[0], 1e-5f * std::abs(gradients[0]));
}

TEST(FakeQuantizeLayer, AScaleThatAStepMadeNegativeIsItsAbsoluteValue) {
  FakeQuantize layer({.spec = QuantizationSpec::activation(4), .learned = true});
  const Tensor x(NDArray::from_vector<float>({0, 1, 2, 5}));
  const auto before = layer(x).data().to_vector<float>();
  Tensor scale = layer.parameters().at(0);
  scale.set_data(NDArray::full({1}, -scale.item<float>()));
  EXPECT_EQ(layer(x).data().to_vector<float>(), before);
  scale.set_data(NDArray::zeros({1}));
  EXPECT_GT(layer.qparams().scale[0], 0);
}

TEST(FakeQuantizeLayer, CopiesAreEqual) {
  QuantizationSpec per_channel = QuantizationSpec::activation(4);
  per_channel.axis = 0;
  std::vector<FakeQuantize::Options> all{{.spec = QuantizationSpec::activation(4), .learned = true},
                                         {.spec = QuantizationSpec::activation(4)},
                                         {.spec = per_channel, .channels = 2}};
  for (const std::string& name : observer_names())
    all.push_back({.spec = QuantizationSpec::activation(4), .observer = make_observer(name, all[1].spec)});
  all.push_back({.spec = per_channel, .observer = make_observer("minmax", per_channel), .channels = 2});
  for (const FakeQuantize::Options& options : all) {
    SCOPED_TRACE(options.observer ? options.observer->type() : "no observer");
    FakeQuantize layer(options);
    const Tensor x(NDArray::from_vector<float>({-1, 1, 2, 5}, {2, 2}));
    layer(x);
    layer.set_observing(false);
    const auto copy = nn::copy_layer(layer);
    copy->train();
    EXPECT_EQ((*copy)(x).data().to_vector<float>(), layer(x).data().to_vector<float>());
    (*copy)(Tensor(NDArray::full({2, 3}, 1000)));
    EXPECT_EQ(dynamic_cast<FakeQuantize&>(*copy).qparams().scale, layer.qparams().scale);
  }
}

TEST(FakeQuantizeLayer, RefusesValuesThatAreNotFinite) {
  FakeQuantize layer({.spec = {}, .observer = make_observer("moving-average", {})});
  EXPECT_THROW(layer(Tensor(NDArray::full({2}, std::numeric_limits<double>::quiet_NaN()))), ValueError);
  EXPECT_THROW(layer(Tensor(NDArray::full({2}, std::numeric_limits<double>::infinity()))), ValueError);
  EXPECT_THROW(layer.qparams(), ValueError);
  layer(Tensor(NDArray::zeros({2})));  // a constant is no error
  EXPECT_EQ(layer.qparams().scale[0], 1);
  EXPECT_THROW(FakeQuantize({.spec = {.bits = 9}}), ValueError);
  EXPECT_THROW(FakeQuantize({.spec = {}, .observer = make_observer("minmax", {.bits = 4})}), ValueError);
}

// Until load_state() compares the tensors of a file with what its attributes say.
TEST(FakeQuantizeLayer, TakesNoMemoryForTheChannelsThatAttributesClaim) {
  Attributes a = FakeQuantize({.spec = {.axis = 0}, .channels = 2}).attributes();
  a.set("channels", int64_t{1} << 40);
  const auto layer = nn::make_layer("FakeQuantize", a);
  EXPECT_THROW(layer->load_state({{"scale", NDArray::ones({2})},
                                  {"zero_point", NDArray::zeros({2}, DType::int32)},
                                  {"initialized", NDArray::zeros({}, DType::uint8)}}),
               ShapeError);
  a.set("channels", int64_t{2});
  a.set("observer", "Linear");
  EXPECT_THROW(nn::make_layer("FakeQuantize", a), FormatError);
}

}  // namespace
}  // namespace thimble::quant
