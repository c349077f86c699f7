#include <cfloat>
#include <cmath>
#include <fstream>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <thimble/core/error.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {
namespace {

using nlohmann::json;
using testing::Each;
using testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

json cases_of(const std::string& file) {
  std::ifstream in(std::string(THIMBLE_TEST_DATA) + "/" + file);
  EXPECT_TRUE(in.good()) << file;
  return json::parse(in).at("cases");
}

QuantizationSpec spec_of_case(const json& c) {
  QuantizationSpec spec;
  spec.bits = c.at("bits");
  spec.is_signed = c.at("signed");
  spec.scheme = qscheme_from_name(c.at("scheme").get<std::string>());
  if (c.contains("axis") && !c["axis"].is_null()) spec.axis = c["axis"].get<int>();
  if (c.value("zero_point_rounding", "nearest") == "truncate") spec.zero_point_rounding = ZeroPointRounding::truncate;
  return spec;
}

double rounded_2(double value) { return std::round(value * 100) / 100; }

double mean_squared_error(const NDArray& a, const NDArray& b) {
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return sum / static_cast<double>(x.size());
}

TEST(QParamsGolden, EveryCaseIsMet) {
  const json cases = cases_of("quantization_cases.json");
  ASSERT_GE(cases.size(), 3u);
  for (const json& c : cases) {
    SCOPED_TRACE(c.at("name").get<std::string>());
    const auto input = c.at("input").get<std::vector<float>>();
    const auto n = static_cast<int64_t>(input.size());
    const NDArray x = NDArray::from_vector(input, Shape(c.value("shape", std::vector<int64_t>{n})));
    const QParams p = choose_qparams(x, spec_of_case(c));
    const NDArray q = quantize(x, p), y = dequantize(q, p);
    ASSERT_EQ(p.scale.size(), 1u);
    if (c.contains("quantized")) {
      EXPECT_EQ(q.to_vector<int32_t>(), c["quantized"].get<std::vector<int32_t>>());
      EXPECT_DOUBLE_EQ(rounded_2(p.scale[0]), c.at("scale_rounded_2").get<double>());
      EXPECT_EQ(p.zero_point[0], c.at("zero_point").get<int>());
      EXPECT_DOUBLE_EQ(rounded_2(mean_squared_error(x, y)), c.at("mse_rounded_2").get<double>());
    }
    if (c.contains("dequantized")) {
      const auto expected = c["dequantized"].get<std::vector<double>>(), got = y.to_vector<double>();
      ASSERT_EQ(got.size(), expected.size());
      for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], c.at("tolerance").get<double>()) << i;
    }
  }
}

TEST(QParamsGolden, AgreesWithTorchObservers) {
  const json cases = cases_of("torch_observer_cases.json");
  ASSERT_GE(cases.size(), 27u);
  for (const json& c : cases) {
    SCOPED_TRACE(c.dump().substr(0, 70));
    const NDArray x = NDArray::from_vector(c.at("input").get<std::vector<float>>(), {3, 4});
    const QParams p = choose_qparams(x, spec_of_case(c));
    EXPECT_EQ(p.scale, c.at("scale").get<std::vector<float>>());
    EXPECT_EQ(p.zero_point, c.at("zero_point").get<std::vector<int32_t>>());
    const auto expected = c.at("dequantized").get<std::vector<float>>();
    const auto got = dequantize(quantize(x, p), p).to_vector<float>();
    // PyTorch multiplies by the rounded reciprocal, so a value within an ulp of a tie may take the other step.
    for (size_t i = 0; i < got.size(); ++i) EXPECT_FLOAT_EQ(got[i], expected[i]) << i;
  }
}

TEST(QuantizationSpec, UsesTheIntegersOfItsBits) {
  for (int bits = 2; bits <= 8; ++bits) {
    const int half = 1 << (bits - 1), all = 1 << bits;
    const QuantizationSpec u{.bits = bits}, s{.bits = bits, .is_signed = true};
    EXPECT_EQ(u.qmin(), 0);
    EXPECT_EQ(u.qmax(), all - 1);
    EXPECT_EQ(s.qmin(), -half);
    EXPECT_EQ(s.qmax(), half - 1);
    const QuantizationSpec w = QuantizationSpec::per_channel_weight(bits);
    EXPECT_EQ(w.qmin(), -(half - 1));
    EXPECT_EQ(w.qmax(), half - 1);
    EXPECT_EQ(w.dtype(), DType::int8);
    EXPECT_EQ(u.dtype(), DType::uint8);
  }
}

TEST(QuantizationSpec, AReducedRangeIsThatOfABitLess) {
  for (int bits = 3; bits <= 8; ++bits)
    for (const bool is_signed : {false, true})
      for (const QScheme scheme : {QScheme::affine, QScheme::symmetric}) {
        const QuantizationSpec reduced{.bits = bits, .is_signed = is_signed, .scheme = scheme, .reduce_range = true};
        const QuantizationSpec fewer{.bits = bits - 1, .is_signed = is_signed, .scheme = scheme};
        EXPECT_EQ(reduced.qmin(), fewer.qmin());
        EXPECT_EQ(reduced.qmax(), fewer.qmax());
        EXPECT_EQ(QuantizationSpec::from_attributes(reduced.to_attributes()), reduced);
      }
  EXPECT_FALSE(QuantizationSpec().to_attributes().contains("reduce_range"));
  EXPECT_THROW(choose_qparams(0, 1, {.bits = 2, .reduce_range = true}), ValueError);
  Attributes bad = QuantizationSpec{.bits = 2}.to_attributes();
  bad.set("reduce_range", true);
  EXPECT_THROW(QuantizationSpec::from_attributes(bad), FormatError);
}

TEST(QuantizationSpec, SurvivesAttributes) {
  for (const bool is_signed : {false, true})
    for (const QScheme scheme : {QScheme::affine, QScheme::symmetric})
      for (const std::optional<int> axis : {std::optional<int>(), std::optional(-2), std::optional(1)})
        for (const auto rounding : {ZeroPointRounding::nearest, ZeroPointRounding::truncate}) {
          const QuantizationSpec spec{5, is_signed, scheme, axis, 0, rounding};
          const QuantizationSpec back = QuantizationSpec::from_attributes(spec.to_attributes());
          EXPECT_EQ(back.bits, 5);
          EXPECT_EQ(back.is_signed, is_signed);
          EXPECT_EQ(back.scheme, scheme);
          EXPECT_EQ(back.axis, axis);
          EXPECT_EQ(back.zero_point_rounding, rounding);
        }
  Attributes bad = QuantizationSpec().to_attributes();
  bad.set("bits", int64_t{9});
  EXPECT_THROW(QuantizationSpec::from_attributes(bad), FormatError);
}

// Every combination of options, per tensor.
std::vector<QuantizationSpec> all_kinds_of_specs() {
  std::vector<QuantizationSpec> specs;
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool is_signed : {false, true})
      for (const QScheme scheme : {QScheme::affine, QScheme::symmetric})
        for (const auto rounding : {ZeroPointRounding::nearest, ZeroPointRounding::truncate})
          specs.push_back({bits, is_signed, scheme, std::nullopt, 0, rounding});
  return specs;
}

std::string describe(const QuantizationSpec& s) {
  return str(s.bits, " bits, ", s.is_signed ? "signed, " : "unsigned, ", name(s.scheme),
             s.zero_point_rounding == ZeroPointRounding::truncate ? ", truncated" : "", ", axis ",
             s.axis.value_or(-99));
}

void expect_each_usable(const QParams& p) {
  for (const float s : p.scale) EXPECT_TRUE(std::isnormal(s) && s > 0) << s;
  for (const int32_t z : p.zero_point) {
    EXPECT_GE(z, p.spec.qmin());
    EXPECT_LE(z, p.spec.qmax());
  }
  EXPECT_EQ(p.scale.size(), p.zero_point.size());
}

TEST(QParams, RandomRangesKeepEveryPromise) {
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> unit(0, 1);
  for (const QuantizationSpec& spec : all_kinds_of_specs()) {
    SCOPED_TRACE(describe(spec));
    for (int i = 0; i < 60; ++i) {
      const float width = std::pow(10.0f, 12 * unit(rng) - 6);
      const float min = width * (unit(rng) * 3 - 2), max = min + width * unit(rng);
      const QParams p = choose_qparams(min, max, spec);
      expect_each_usable(p);
      const double scale = p.scale[0];
      std::vector<float> values{0.0f, min, max};
      for (int v = 0; v < 30; ++v) values.push_back(min + (max - min) * unit(rng));
      const auto q = quantize(NDArray::from_vector(values), p).to_vector<int32_t>();
      const auto y = dequantize(quantize(NDArray::from_vector(values), p), p).to_vector<float>();
      EXPECT_EQ(q[0], p.zero_point[0]);
      EXPECT_EQ(y[0], 0.0f);
      // Rounding the zero point moves the end of the range by up to half a step, truncating it by up to a whole one.
      const double at_end = spec.scheme == QScheme::symmetric                         ? 0.5
                            : spec.zero_point_rounding == ZeroPointRounding::truncate ? 1.0
                                                                                      : 0.5;
      for (size_t v = 1; v < values.size(); ++v) {
        const bool inside = q[v] > spec.qmin() && q[v] < spec.qmax();
        const double allowed = (inside ? 0.5 : at_end) * scale * (1 + 1e-5) + 1e-6 * std::abs(double{values[v]});
        EXPECT_LE(std::abs(double{y[v]} - double{values[v]}), allowed) << values[v] << " in " << min << ", " << max;
      }
    }
  }
}

TEST(QParams, TheWholeRangeOfIntegersIsUsed) {
  std::mt19937 rng(2);
  std::uniform_real_distribution<float> unit(0.05f, 1);
  for (const QuantizationSpec& spec : all_kinds_of_specs()) {
    SCOPED_TRACE(describe(spec));
    const float min = -unit(rng), max = unit(rng), most = std::max(-min, max);
    const QParams p = choose_qparams(min, max, spec);
    if (spec.scheme == QScheme::affine) {
      EXPECT_FLOAT_EQ(p.scale[0], (max - min) / static_cast<float>((1 << spec.bits) - 1));
    } else {
      EXPECT_FLOAT_EQ(p.scale[0], most / static_cast<float>((1 << (spec.bits - 1)) - 1));
      EXPECT_EQ(p.zero_point[0], spec.is_signed ? 0 : 1 << (spec.bits - 1));
    }
  }
}

TEST(Quantize, ClampsOutsideTheRange) {
  for (const QuantizationSpec& spec : all_kinds_of_specs()) {
    SCOPED_TRACE(describe(spec));
    const QParams p = choose_qparams(-1, 1, spec);
    const NDArray x = NDArray::from_vector<float>({-1.5f, -3e38f, -kInf, 1.5f, 3e38f, kInf, kNan});
    const int32_t lo = spec.qmin(), hi = spec.qmax();
    EXPECT_THAT(quantize(x, p).to_vector<int32_t>(), ElementsAre(lo, lo, lo, hi, hi, hi, lo));
  }
}

TEST(Quantize, RoundsTiesToEven) {
  const QParams p{{.bits = 8, .is_signed = true}, {0.25f}, {3}};
  std::vector<float> x;
  std::vector<int32_t> expected;
  for (int k = -40; k < 40; ++k) {
    x.push_back(0.25f * (static_cast<float>(k) + 0.5f));
    expected.push_back((k % 2 == 0 ? k : k + 1) + 3);
  }
  EXPECT_EQ(quantize(NDArray::from_vector(x), p).to_vector<int32_t>(), expected);
}

TEST(QParams, DegenerateRangesGetADefinedAnswer) {
  const std::pair<float, float> ranges[] = {{0, 0},
                                            {-0.0f, 0},
                                            {5, 5},
                                            {-5, -5},
                                            {0, 1e-40f},
                                            {-1e-40f, 1e-40f},
                                            {-1e-45f, 0},
                                            {1e-38f, 1e-38f},
                                            {-3e38f, 3e38f},
                                            {0, FLT_MAX},
                                            {-FLT_MAX, 0},
                                            {-FLT_MAX, FLT_MAX},
                                            {FLT_MAX, FLT_MAX},
                                            {-FLT_MIN, FLT_MIN},
                                            {-1e-30f, 3e38f}};
  for (const QuantizationSpec& spec : all_kinds_of_specs()) {
    for (const auto& [min, max] : ranges) {
      SCOPED_TRACE(describe(spec) + str(" of [", min, ", ", max, "]"));
      const QParams p = choose_qparams(min, max, spec);
      expect_each_usable(p);
      const NDArray x = NDArray::from_vector<float>({0, min, max});
      const auto y = dequantize(quantize(x, p), p).to_vector<float>();
      EXPECT_EQ(y[0], 0.0f);
      for (size_t i = 1; i < 3; ++i) {
        EXPECT_FALSE(std::isnan(y[i]));
        const double x_i = x.data<float>()[i];
        // Where the width leaves float32, a value at the end of the range may come back as infinity.
        if (std::max(double{max}, 0.0) - std::min(double{min}, 0.0) < 3.2e38) {
          EXPECT_LE(std::abs(double{y[i]} - x_i), p.scale[0] * 1.01);
        }
      }
    }
  }
  EXPECT_EQ(choose_qparams(0, 0).scale[0], 1.0f);
  // A constant comes back nearly exactly: it is an end of the range.
  const QParams five = choose_qparams(NDArray::full({3}, 5));
  EXPECT_FLOAT_EQ(dequantize(quantize(NDArray::full({1}, 5), five), five).item<float>(), 5);
}

TEST(QParams, RefusesWhatHasNoRange) {
  for (const QuantizationSpec& spec : all_kinds_of_specs()) {
    EXPECT_THROW(choose_qparams(kNan, 1, spec), ValueError);
    EXPECT_THROW(choose_qparams(0, kNan, spec), ValueError);
    EXPECT_THROW(choose_qparams(-kInf, 1, spec), ValueError);
    EXPECT_THROW(choose_qparams(0, kInf, spec), ValueError);
    EXPECT_THROW(choose_qparams(1, -1, spec), ValueError);
    for (const float bad : {kNan, kInf, -kInf})
      for (const int64_t at : {0, 5, 16}) {
        NDArray x = NDArray::zeros({17});
        x.data<float>()[at] = bad;
        EXPECT_THROW(choose_qparams(x, spec), ValueError) << bad << " at " << at;
      }
    EXPECT_THROW(choose_qparams(NDArray(Shape{0}), spec), ValueError);
  }
  EXPECT_THROW(choose_qparams(NDArray(Shape{3, 0}), {.axis = 0}), ValueError);
  EXPECT_THROW(choose_qparams(std::vector<float>{}, {}, {}), ValueError);
  EXPECT_THROW(choose_qparams(std::vector<float>{0, 0}, {1}, {}), ValueError);
  EXPECT_THROW(choose_qparams(NDArray::zeros({3}, DType::int32)), DTypeError);
}

TEST(QParams, RefusesBitsOutsideTwoToEight) {
  for (const int bits : {-1, 0, 1, 9, 16, 32, 1000}) {
    const QuantizationSpec spec{.bits = bits};
    EXPECT_THROW(choose_qparams(0, 1, spec), ValueError) << bits;
    EXPECT_THROW(choose_qparams(NDArray::ones({2}), spec), ValueError) << bits;
  }
}

// Per channel must be the same as each channel on its own.
TEST(PerChannel, EqualsEachChannelOnItsOwnOnEveryAxis) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  for (int trial = 0; trial < 40; ++trial) {
    Shape shape;
    const int dims = 1 + static_cast<int>(rng() % 4);
    for (int d = 0; d < dims; ++d) shape.push_back(1 + rng() % 5);
    std::vector<float> values(static_cast<size_t>(shape.numel()));
    for (float& v : values) v = normal(rng) * std::pow(10.0f, static_cast<float>(rng() % 5));
    NDArray x = NDArray::from_vector(values, shape);
    if (dims > 1 && trial % 2) x = x.transpose(0, dims - 1);  // strided
    for (int axis = -dims; axis < dims; ++axis) {
      QuantizationSpec spec{2 + static_cast<int>(rng() % 7), rng() % 2 == 0,
                            rng() % 2 ? QScheme::affine : QScheme::symmetric, axis};
      SCOPED_TRACE(str(describe(spec), " of ", x.shape(), x.is_contiguous() ? "" : ", strided"));
      const int at = axis < 0 ? axis + dims : axis;
      const QParams p = choose_qparams(x, spec);
      ASSERT_EQ(static_cast<int64_t>(p.scale.size()), x.shape(at));
      const NDArray q = quantize(x, p), y = dequantize(q, p);
      EXPECT_EQ(q.shape(), x.shape());
      EXPECT_EQ(q.dtype(), spec.dtype());
      spec.axis = std::nullopt;
      for (int64_t c = 0; c < x.shape(at); ++c) {
        const NDArray channel = x.slice(at, c, c + 1);
        const QParams own = choose_qparams(channel, spec);
        const auto i = static_cast<size_t>(c);
        EXPECT_EQ(own.scale[0], p.scale[i]);
        EXPECT_EQ(own.zero_point[0], p.zero_point[i]);
        EXPECT_EQ(quantize(channel, own).to_vector<int32_t>(), q.slice(at, c, c + 1).to_vector<int32_t>());
        EXPECT_EQ(dequantize(quantize(channel, own), own).to_vector<float>(), y.slice(at, c, c + 1).to_vector<float>());
      }
    }
  }
}

TEST(PerChannel, DequantizesStridedIntegers) {
  const QParams p{{.is_signed = true, .axis = 0}, {0.5f, 2.0f}, {1, -1}};
  const NDArray q = NDArray::from_vector<int8_t>({1, 2, 3, 4, 5, 6}, {3, 2}).transpose(0, 1);
  EXPECT_THAT(dequantize(q, p).to_vector<float>(), ElementsAre(0, 1, 2, 6, 10, 14));
}

TEST(PerChannel, RefusesAWrongNumberOfChannels) {
  const QParams three = choose_qparams(NDArray::ones({3, 2}), {.is_signed = true, .axis = 0});
  EXPECT_THROW(quantize(NDArray::ones({2, 3}), three), ShapeError);
  EXPECT_THROW(dequantize(NDArray::ones({4, 2}, DType::int8), three), ShapeError);
  EXPECT_THROW(quantize(NDArray::ones({}), three), ShapeError);
  EXPECT_THROW(choose_qparams(NDArray::ones({3, 2}), {.axis = 2}), ShapeError);
  EXPECT_THROW(choose_qparams(NDArray::ones({3, 2}), {.axis = -3}), ShapeError);
  QParams per_tensor = choose_qparams(0, 1);
  per_tensor.scale = {1, 1};
  per_tensor.zero_point = {0, 0};
  EXPECT_THROW(quantize(NDArray::ones({2}), per_tensor), ShapeError);
}

TEST(Quantize, RefusesOtherDtypesAndUnsoundParameters) {
  const QParams p = choose_qparams(-1, 1);
  EXPECT_THROW(quantize(NDArray::ones({2}, DType::int32), p), DTypeError);
  EXPECT_THROW(dequantize(NDArray::ones({2}, DType::int8), p), DTypeError);
  EXPECT_THROW(dequantize(NDArray::ones({2}), p), DTypeError);
  for (const float scale : {0.0f, -1.0f, kInf, kNan})
    EXPECT_THROW(quantize(NDArray::ones({2}), QParams{{}, {scale}, {0}}), ValueError) << scale;
  for (const int32_t zero_point : {-1, 256})
    EXPECT_THROW(dequantize(NDArray::ones({2}, DType::uint8), QParams{{}, {1.0f}, {zero_point}}), ValueError);
  EXPECT_THROW(quantize(NDArray::ones({2}), QParams{{.bits = 9}, {1.0f}, {0}}), ValueError);
}

TEST(Quantize, KeepsEmptyArraysAndScalars) {
  const QParams p = choose_qparams(-1, 1);
  EXPECT_EQ(quantize(NDArray(Shape{0, 3}), p).shape(), (Shape{0, 3}));
  EXPECT_EQ(dequantize(quantize(NDArray(Shape{0, 3}), p), p).shape(), (Shape{0, 3}));
  EXPECT_EQ(quantize(NDArray::full({}, 2.0), p).item<int32_t>(), 255);
}

TEST(QuantizationSpec, RefusesUnknownAttributes) {
  Attributes a = QuantizationSpec().to_attributes();
  a.set("scheme", std::string("logarithmic"));
  EXPECT_THROW(QuantizationSpec::from_attributes(a), FormatError);
}

}  // namespace
}  // namespace thimble::quant
