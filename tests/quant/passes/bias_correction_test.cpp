#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/quant/calibrated.h"
#include <thimble/quant/passes/adaround.h>
#include <thimble/quant/passes/bias_correction.h>
#include <thimble/quant/qat/qat.h>

namespace thimble::quant {
namespace {

class BiasCorrection : public CalibratedTest {
 protected:
  // Squared mean error of each output, summed.
  double shift(Graph& graph) {
    const Tensor m = mean(error(graph), {0});
    return sum(m * m).item<double>();
  }
};

TEST_F(BiasCorrection, TakesTheMeanShiftBackAndMostOfTheErrorWithIt) {
  for (const int weight_bits : {2, 3, 4}) {
    const Graph prepared = calibrated(bits(weight_bits));
    const Graph corrected = unchanged(prepared, [&] { return bias_correction(prepared, fused, batches); });
    Graph before = convert(prepared), after = convert(corrected);
    EXPECT_LT(shift(after), 0.05 * shift(before)) << weight_bits << " bits";
    EXPECT_LT(mean_squared_error(after), 0.7 * mean_squared_error(before)) << weight_bits << " bits";
  }
}

TEST_F(BiasCorrection, LeavesTheMeanOfEachLayerAsItIs) {
  const Graph prepared = calibrated(bits(3));
  const Graph corrected = bias_correction(prepared, fused, batches);
  for (const char* layer : {"conv1", "depthwise", "conv2", "fc1", "fc2"}) {
    // The integer network up to this layer, without a fused relu.
    const auto means = [&](const Graph& graph, bool quantized) {
      Graph part = graph.clone();
      Node* node = part.find(layer);
      const auto arrays = arrays_of(part.layer(node));
      Attributes attributes = part.layer(node).attributes();
      std::string type = part.layer(node).type();
      if (type.ends_with("ReLU")) type.resize(type.size() - 4);
      const auto plain = nn::make_layer(type, attributes);
      plain->load_state({arrays.begin(), arrays.end()});
      part.replace_layer(node, plain);
      part.set_output(node);
      part.eliminate_dead_nodes();
      part.eval();
      if (quantized) part = convert(part);
      const NoGrad guard;
      const Tensor y = part(concat(batches));
      return mean(y, y.ndim() == 4 ? Shape{0, 2, 3} : Shape{0}).data().to_vector<double>();
    };
    const auto expected = means(fused, false), got = means(corrected, true), without = means(prepared, true);
    double shift_before = 0, shift_after = 0;
    for (size_t c = 0; c < expected.size(); ++c) {
      shift_before += std::abs(without[c] - expected[c]);
      shift_after += std::abs(got[c] - expected[c]);
    }
    EXPECT_LT(shift_after, 0.02 * shift_before) << layer;
  }
}

TEST_F(BiasCorrection, ChangesBiasesOnly) {
  const Graph prepared = calibrated(bits(3)), corrected = bias_correction(prepared, fused, batches);
  const auto before = arrays_of(prepared), after = arrays_of(corrected);
  EXPECT_FALSE(before.contains("fc2.bias"));
  for (const auto& [name, array] : after) {
    if (!name.ends_with(".bias")) {
      EXPECT_EQ(array.to_vector<float>(), before.at(name).to_vector<float>()) << name;
    } else if (before.contains(name)) {
      EXPECT_NE(array.to_vector<float>(), before.at(name).to_vector<float>()) << name;
    }
  }
  EXPECT_TRUE(after.contains("fc2.bias"));
  EXPECT_TRUE(after.contains("conv2.bias"));
}

TEST_F(BiasCorrection, ComparesWithTheFloatNetworkAfterAdaround) {
  const Graph prepared = calibrated(bits(3));
  const Graph rounded = adaround(prepared, batches, {.iterations = 50});
  const Graph corrected = bias_correction(rounded, fused, batches);
  Graph before = convert(rounded), after = convert(corrected);
  EXPECT_LT(shift(after), 0.3 * shift(before));
  const auto weights = arrays_of(rounded), same = arrays_of(corrected);
  EXPECT_EQ(weights.at("fc1.weight").to_vector<float>(), same.at("fc1.weight").to_vector<float>());
}

TEST_F(BiasCorrection, LeavesLayersThatStayFloat) {
  QConfigMapping mapping = bits(3);
  mapping.set_name("conv2", std::nullopt);
  const Graph prepared = calibrated(mapping), corrected = bias_correction(prepared, fused, batches);
  EXPECT_FALSE(arrays_of(corrected).contains("conv2.bias"));
  EXPECT_TRUE(arrays_of(corrected).contains("fc2.bias"));
  mapping.set_name("fc1", std::nullopt);
  const Graph without_fc1 = bias_correction(calibrated(mapping), fused, batches);
  EXPECT_EQ(arrays_of(without_fc1).at("fc1.bias").to_vector<float>(),
            arrays_of(fused).at("fc1.bias").to_vector<float>());
}

TEST_F(BiasCorrection, TellsItsProgress) {
  std::vector<std::pair<int64_t, int64_t>> calls;
  bias_correction(calibrated(bits(4)), fused, batches,
                  [&](int64_t done, int64_t total) { calls.emplace_back(done, total); });
  ASSERT_EQ(calls.size(), 5u);
  EXPECT_EQ(calls.front(), std::pair(int64_t{1}, int64_t{5}));
  EXPECT_EQ(calls.back(), std::pair(int64_t{5}, int64_t{5}));
}

TEST_F(BiasCorrection, RefusesWhatItCannotWorkOn) {
  const Graph prepared = calibrated(bits(4));
  const auto corrected = [&](const std::vector<Tensor>& data) { return bias_correction(prepared, fused, data); };
  EXPECT_THROW(corrected({}), ValueError);
  EXPECT_THROW(corrected({Tensor()}), ValueError);
  EXPECT_THROW(corrected({NDArray::zeros({0, 3, 6, 6})}), ValueError);
  EXPECT_THROW(corrected({NDArray::full({1, 3, 6, 6}, std::nan(""))}), ValueError);
  EXPECT_THROW(corrected({NDArray::zeros({1, 3, 6, 6}, DType::int64)}), ValueError);
  EXPECT_THROW(corrected({NDArray::zeros({1, 3, 6, 6}), NDArray::zeros({1, 3, 7, 6})}), ValueError);
  EXPECT_THROW(corrected({NDArray::zeros({1, 2, 6, 6})}), ShapeError);
  EXPECT_THROW(bias_correction(prepare(fused, bits(4)), fused, batches), ValueError) << "not calibrated";
  EXPECT_THROW(bias_correction(prepare_qat(fused, bits(4)), fused, batches), ValueError);
  Graph other = fused.clone();
  other.set_output(other.find("fc1"));
  other.eliminate_dead_nodes();
  EXPECT_THROW(bias_correction(prepared, other, batches), ValueError);
}

}  // namespace
}  // namespace thimble::quant
