#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/quant/calibrated.h"
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/passes/adaround.h>
#include <thimble/quant/qat/qat.h>

namespace thimble::quant {
namespace {

class AdaRound : public CalibratedTest {
 protected:
  const AdaRoundOptions kFew{.iterations = 300};

  // What a layer of the converted graph quantizes to: integers and scales.
  static std::pair<std::vector<int>, std::vector<double>> integers(const Graph& converted, const std::string& layer) {
    const auto* product = converted.layer_as<IntegerProduct>(converted.find(layer));
    return {product->weights().unpacked().to_vector<int>(), arrays_of(*product).at("weight_scale").to_vector<double>()};
  }

  const std::vector<std::string> kLayers{"conv1", "depthwise", "conv2", "fc1", "fc2"};
};

TEST_F(AdaRound, BeatsRoundingToNearestOnImagesItHasNotSeen) {
  for (const int weight_bits : {3, 4}) {
    for (const char* observer : {"minmax", "mse"}) {
      QConfig config;
      config.weight.bits = weight_bits;
      config.weight_observer = observer;
      const Graph prepared = calibrated(QConfigMapping().set_global(config));
      const Graph rounded = unchanged(prepared, [&] { return adaround(prepared, batches, kFew); });
      Graph nearest = convert(prepared), learned = convert(rounded);
      EXPECT_LT(mean_squared_error(learned), 0.6 * mean_squared_error(nearest)) << weight_bits << ", " << observer;
    }
  }
}

TEST_F(AdaRound, LowersTheErrorOfEachLayersOutput) {
  AdaRoundReport report;
  adaround(calibrated(bits(3)), batches, kFew, &report);
  ASSERT_EQ(report.size(), kLayers.size());
  for (size_t i = 0; i < report.size(); ++i) {
    EXPECT_EQ(report[i].name, kLayers[i]);
    EXPECT_LT(report[i].error, 0.9 * report[i].nearest_error) << report[i].name;
    EXPECT_GT(report[i].error, 0) << report[i].name;
  }
}

TEST_F(AdaRound, RoundsToOneOfTheTwoIntegersAroundEachWeightAndConvertsToExactlyThese) {
  for (const int weight_bits : {2, 3, 4, 8}) {
    const Graph prepared = calibrated(bits(weight_bits)), rounded = adaround(prepared, batches, kFew);
    const Graph nearest = convert(prepared), learned = convert(rounded);
    for (const std::string& layer : kLayers) {
      const auto weight = arrays_of(prepared).at(layer + ".weight").to_vector<double>();
      const auto on_grid = arrays_of(rounded).at(layer + ".weight").to_vector<double>();
      const auto [q, scale] = integers(learned, layer);
      const auto [q_nearest, scale_nearest] = integers(nearest, layer);
      EXPECT_EQ(scale, scale_nearest) << layer;
      if (weight_bits == 3) {
        EXPECT_NE(q, q_nearest) << layer;
      }
      const size_t row = weight.size() / scale.size();
      for (size_t i = 0; i < weight.size(); ++i) {
        const double s = scale[i / row];
        ASSERT_FLOAT_EQ(static_cast<float>(on_grid[i]), static_cast<float>(q[i] * s)) << layer << ", weight " << i;
        ASSERT_LT(std::abs(on_grid[i] - weight[i]), s * 1.0001) << layer << ", weight " << i;
      }
    }
  }
}

TEST_F(AdaRound, KeepsWeightsPerTensorOnOneGrid) {
  QConfig config;
  config.weight.bits = 3;
  config.weight.axis = std::nullopt;
  const Graph prepared = calibrated(QConfigMapping().set_global(config)), rounded = adaround(prepared, batches, kFew);
  Graph nearest = convert(prepared), learned = convert(rounded);
  for (const std::string& layer : kLayers)
    EXPECT_EQ(integers(learned, layer).second, integers(nearest, layer).second) << layer;
  EXPECT_LT(mean_squared_error(learned), 0.7 * mean_squared_error(nearest));
}

TEST_F(AdaRound, RoundsWeightsInGroups) {
  QConfig config;
  config.weight.bits = 3;
  config.weight.group_size = 12;
  const Graph prepared = calibrated(QConfigMapping().set_global(config)), rounded = adaround(prepared, batches, kFew);
  Graph nearest = convert(prepared), learned = convert(rounded);
  EXPECT_EQ(integers(learned, "fc1").second.size(), 24u * 9u);
  for (const std::string& layer : kLayers)
    EXPECT_EQ(integers(learned, layer).second, integers(nearest, layer).second) << layer;
  EXPECT_LT(mean_squared_error(learned), 0.7 * mean_squared_error(nearest));
}

TEST_F(AdaRound, GivesTheSameBitsForTheSameSeed) {
  const Graph prepared = calibrated(bits(3));
  const auto weights = [&](const AdaRoundOptions& options) {
    return arrays_of(adaround(prepared, batches, options)).at("fc1.weight").to_vector<float>();
  };
  AdaRoundOptions other{.iterations = 100, .seed = 2};
  EXPECT_EQ(weights({.iterations = 100}), weights({.iterations = 100}));
  EXPECT_NE(weights({.iterations = 100}), weights(other));
}

TEST_F(AdaRound, WithoutIterationsRoundsToNearest) {
  const Graph prepared = calibrated(bits(3)), rounded = adaround(prepared, batches, {.iterations = 0});
  const Graph nearest = convert(prepared), learned = convert(rounded);
  for (const std::string& layer : kLayers) EXPECT_EQ(integers(learned, layer), integers(nearest, layer)) << layer;
}

TEST_F(AdaRound, LeavesLayersThatStayFloat) {
  QConfigMapping mapping = bits(3);
  mapping.set_name("conv2", std::nullopt);
  AdaRoundReport report;
  const Graph rounded = adaround(calibrated(mapping), batches, {.iterations = 20}, &report);
  EXPECT_EQ(report.size(), 4u);
  EXPECT_EQ(arrays_of(rounded).at("conv2.weight").to_vector<float>(),
            arrays_of(fused).at("conv2.weight").to_vector<float>());
  EXPECT_NE(arrays_of(rounded).at("fc1.weight").to_vector<float>(),
            arrays_of(fused).at("fc1.weight").to_vector<float>());
}

TEST_F(AdaRound, WorksWhereNothingIsRecordedAndLeavesNoGradients) {
  const NoGrad guard;
  const Graph prepared = calibrated(bits(3));
  AdaRoundReport report;
  const Graph rounded = adaround(prepared, batches, kFew, &report);
  EXPECT_LT(report.back().error, report.back().nearest_error);
  for (const Tensor& p : rounded.parameters()) EXPECT_FALSE(p.grad().defined());
}

TEST_F(AdaRound, TellsItsProgress) {
  int64_t calls = 0;
  AdaRoundOptions options{.iterations = 7};
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(done, ++calls);
    EXPECT_EQ(total, 5 * 7);
  };
  adaround(calibrated(bits(4)), batches, options);
  EXPECT_EQ(calls, 5 * 7);
}

TEST_F(AdaRound, RefusesWhatItCannotWorkOn) {
  const Graph prepared = calibrated(bits(4));
  const auto rounded = [&](const std::vector<Tensor>& data, const AdaRoundOptions& options = {.iterations = 1}) {
    return adaround(prepared, data, options);
  };
  EXPECT_THROW(rounded({}), ValueError);
  EXPECT_THROW(rounded({NDArray::zeros({0, 3, 6, 6})}), ValueError);
  EXPECT_THROW(rounded({NDArray::full({1, 3, 6, 6}, std::numeric_limits<double>::infinity())}), ValueError);
  EXPECT_THROW(rounded({NDArray::zeros({1, 3, 6, 6}), NDArray::zeros({1, 3, 6, 7})}), ValueError);
  EXPECT_THROW(rounded({NDArray::zeros({1, 2, 6, 6})}), ShapeError);
  EXPECT_THROW(adaround(prepare(fused, bits(4)), batches), ValueError) << "not calibrated";
  EXPECT_THROW(adaround(prepare_qat(fused, bits(4)), batches), ValueError);
  EXPECT_THROW(rounded(batches, {.iterations = -1}), ValueError);
  EXPECT_THROW(rounded(batches, {.batch_size = 0}), ValueError);
  EXPECT_THROW(rounded(batches, {.lr = -1}), ValueError);
  EXPECT_THROW(rounded(batches, {.regularization = std::nan("")}), ValueError);
  EXPECT_THROW(rounded(batches, {.warm_up = 1.5}), ValueError);
  EXPECT_THROW(rounded(batches, {.beta_start = 1, .beta_end = 2}), ValueError);
  EXPECT_THROW(rounded(batches, {.beta_end = 0}), ValueError);
}

}  // namespace
}  // namespace thimble::quant
