#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/parallel.h>
#include <thimble/quant/observers/qparams_mse.h>

namespace thimble::quant {
namespace {

double squared_error(const NDArray& x, const QParams& p) {
  const auto values = x.to_vector<double>(), back = dequantize(quantize(x, p), p).to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < back.size(); ++i) sum += (back[i] - values[i]) * (back[i] - values[i]);
  return sum;
}

std::vector<QuantizationSpec> all_specs() {
  std::vector<QuantizationSpec> specs;
  for (const int bits : {2, 3, 4, 8})
    for (const bool is_signed : {false, true})
      for (const QScheme scheme : {QScheme::affine, QScheme::symmetric})
        for (const auto axis : {std::optional<int>(), std::optional(0), std::optional(-1)})
          specs.push_back({.bits = bits, .is_signed = is_signed, .scheme = scheme, .axis = axis});
  return specs;
}

TEST(QParamsMSE, AreNeverWorseThanMinMaxInAnyChannel) {
  std::mt19937 rng(1);
  for (const QuantizationSpec& spec : all_specs()) {
    SCOPED_TRACE(str(spec.to_attributes()));
    const NDArray x = random_normal({4, 30, 5}, rng);
    const QParams best = choose_qparams_mse(x, spec), whole = choose_qparams(x, spec);
    ASSERT_EQ(best.scale.size(), whole.scale.size());
    EXPECT_LE(squared_error(x, best), squared_error(x, whole) * 1.00001);
    for (size_t c = 0; c < best.scale.size(); ++c) {
      EXPECT_LE(best.scale[c], whole.scale[c]);
      if (!spec.axis) continue;
      const auto i = static_cast<int64_t>(c);
      QuantizationSpec one = spec;
      one.axis = std::nullopt;
      const NDArray channel = x.slice(*spec.axis, i, i + 1).contiguous();
      EXPECT_LE(squared_error(channel, {one, {best.scale[c]}, {best.zero_point[c]}}),
                squared_error(channel, {one, {whole.scale[c]}, {whole.zero_point[c]}}) * 1.00001);
    }
  }
}

TEST(QParamsMSE, AreBetterThanAnyOfAGrid) {
  std::mt19937 rng(2);
  for (const int bits : {2, 4, 8}) {
    const QuantizationSpec spec{.bits = bits, .is_signed = true, .scheme = QScheme::symmetric};
    const NDArray x = random_normal({3000}, rng);
    const double best = squared_error(x, choose_qparams_mse(x, spec));
    const Range range = min_max(x, QuantizationSpec{});
    for (int i = 1; i <= 100; ++i) {
      const float f = static_cast<float>(i) / 100;
      EXPECT_LE(best, squared_error(x, choose_qparams(range.min[0] * f, range.max[0] * f, spec)) * 1.00001)
          << bits << ' ' << i;
    }
    EXPECT_LT(best, squared_error(x, choose_qparams(x, spec)) * (bits == 8 ? 1.0 : 0.9)) << bits;
  }
}

TEST(QParamsMSE, ShrinkBothEndsAlike) {
  std::mt19937 rng(4);
  NDArray x = random_normal({3000}, rng);
  x.data<float>()[0] = -20;
  x.data<float>()[1] = 10;
  const QParams whole = choose_qparams(x, {.bits = 4}), best = choose_qparams_mse(x, {.bits = 4});
  EXPECT_LT(best.scale[0], 0.8f * whole.scale[0]);
  EXPECT_EQ(best.zero_point, whole.zero_point);
}

TEST(QParamsMSE, AreTheSameOnAnyNumberOfThreads) {
  std::mt19937 rng(3);
  const NDArray x = random_normal({40, 3000}, rng);
  const int before = num_threads();
  for (const auto axis : {std::optional<int>(), std::optional(0)}) {
    const QuantizationSpec spec{.bits = 4, .is_signed = true, .axis = axis};
    set_num_threads(1);
    const QParams one = choose_qparams_mse(x, spec);
    set_num_threads(3);
    const QParams three = choose_qparams_mse(x, spec);
    EXPECT_EQ(one.scale, three.scale);
    EXPECT_EQ(one.zero_point, three.zero_point);
  }
  set_num_threads(before);
}

TEST(QParamsMSE, HaveADefinedScaleForAnyFiniteValues) {
  constexpr float kMax = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::denorm_min();
  for (const QuantizationSpec& spec : all_specs())
    for (const float value : {0.0f, 1.0f, kTiny, -kTiny, kMax, -kMax}) {
      const QParams p = choose_qparams_mse(NDArray::full({2, 3}, double{value}), spec);
      for (const float scale : p.scale) EXPECT_TRUE(std::isnormal(scale) && scale > 0) << value << ' ' << scale;
    }
  EXPECT_THROW(choose_qparams_mse(NDArray::zeros({0})), ValueError);
  EXPECT_THROW(choose_qparams_mse(NDArray::full({2}, std::numeric_limits<double>::quiet_NaN())), ValueError);
  EXPECT_THROW(choose_qparams_mse(NDArray::zeros({2}), {.bits = 9}), ValueError);
}

}  // namespace
}  // namespace thimble::quant
