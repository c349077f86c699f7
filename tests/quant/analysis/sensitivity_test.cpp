#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/quant/analysis/error_report.h>
#include <thimble/quant/analysis/sensitivity.h>

namespace thimble::quant {
namespace {

class SensitivityTest : public QuantizeTest {
 protected:
  // Three layers of which the middle one has, in each channel, one weight beside which the others round to 0. It meets
  // a feature that is always 0.
  Graph with_a_sensitive_layer() {
    nn::Sequential model(nn::Linear(8, 16), nn::ReLU(), nn::Linear(16, 16), nn::ReLU(), nn::Linear(16, 4));
    Graph graph = traced(model, {64, 8});
    nn::Linear& first = *graph.layer_as<nn::Linear>(graph.find("0"));
    nn::Linear& middle = *graph.layer_as<nn::Linear>(graph.find("2"));
    for (int64_t i = 0; i < 8; ++i) first.weight.mutable_data().data<float>()[i] = 0;
    first.bias.mutable_data().data<float>()[0] = 0;
    for (int64_t o = 0; o < 16; ++o) middle.weight.mutable_data().data<float>()[o * 16] = 300;
    return graph;
  }
  std::vector<int64_t> classes(Graph& graph) {
    const NoGrad guard;
    return argmax(graph(Tensor(data)).data(), 1).to_vector<int64_t>();
  }
  // The part of the samples that the graph classifies as `expected`.
  double agreement(Graph& graph, const std::vector<int64_t>& expected) {
    const auto found = classes(graph);
    double same = 0;
    for (size_t i = 0; i < found.size(); ++i) same += found[i] == expected[i];
    return same / static_cast<double>(found.size());
  }
  Sensitivity measured(const Graph& graph, SensitivityMode mode, const QConfigMapping& mapping) {
    CalibratedGraph calibrated(graph, mapping, [this](Graph& prepared) { prepared(Tensor(data)); });
    Graph reference = calibrated.reference().clone();
    const auto expected = classes(reference);
    visited.clear();
    return measure_sensitivity(calibrated, [&](Graph& g) { return agreement(g, expected); }, std::vector<Tensor>{data},
                               {.mode = mode, .on_layer = [this](const LayerSensitivity& layer, Graph& g) {
                                  visited.push_back(layer.name);
                                  int integers = 0;
                                  for (const Node* node : g.nodes())
                                    integers += g.layer_as<IntegerProduct>(node) != nullptr;
                                  products.push_back(integers);
                                }});
  }

  std::vector<std::string> visited;
  std::vector<int> products;  // integer ones of each graph that was visited
};

TEST_F(SensitivityTest, OneLayerQuantizedFindsTheSensitiveOne) {
  const Graph graph = with_a_sensitive_layer();
  const Sensitivity s = measured(graph, SensitivityMode::one, QConfigMapping::static_int8());
  EXPECT_EQ(s.baseline, 1);
  ASSERT_EQ(s.layers.size(), 3u);
  const LayerSensitivity& middle = s.layers[1];
  EXPECT_EQ(middle.name, "2");
  EXPECT_EQ(middle.type, "LinearReLU");
  EXPECT_GT(middle.accuracy_drop, 0.2);
  for (const LayerSensitivity& layer : s.layers) {
    EXPECT_DOUBLE_EQ(layer.accuracy_drop, s.baseline - layer.accuracy);
    if (&layer == &middle) continue;
    EXPECT_LT(layer.accuracy_drop, 0.1) << layer.name;
    EXPECT_GT(layer.output_sqnr_db, middle.output_sqnr_db + 10) << layer.name;
    EXPECT_GT(layer.layer_sqnr_db, middle.layer_sqnr_db + 10) << layer.name;
  }
  EXPECT_THAT(visited, testing::ElementsAre("0", "2", "4"));
  EXPECT_THAT(products, testing::Each(1));
}

TEST_F(SensitivityTest, AllButOneQuantizedGainsByTheSensitiveOne) {
  const Graph graph = with_a_sensitive_layer();
  const Sensitivity s = measured(graph, SensitivityMode::all_but_one, QConfigMapping::static_int8());
  ASSERT_EQ(s.layers.size(), 3u);
  EXPECT_LT(s.quantized, 0.8);
  EXPECT_GT(s.layers[1].accuracy, 0.9);
  for (const size_t other : {0, 2}) {
    EXPECT_LT(s.layers[other].accuracy, 0.8);
    EXPECT_LT(s.layers[other].output_sqnr_db + 10, s.layers[1].output_sqnr_db);
  }
  EXPECT_THAT(products, testing::Each(2));
}

TEST_F(SensitivityTest, RowsAreWhatQuantizingByHandGives) {
  nn::Sequential model(nn::Linear(8, 12), nn::ReLU(), nn::Linear(12, 5));
  const Graph graph = traced(model);
  const Sensitivity s = measured(graph, SensitivityMode::one, QConfigMapping::static_int8());
  const Converted first = quantized(graph, QConfigMapping().set_name("0", QConfig()));
  CalibratedGraph calibrated(graph, QConfigMapping::static_int8(), [this](Graph& g) { g(Tensor(data)); });
  const auto errors = quantization_error(calibrated.reference(), first.graph, std::vector<Tensor>{data});
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_EQ(s.layers[0].layer_sqnr_db, errors[0].sqnr_db);
  EXPECT_EQ(s.layers[0].output_sqnr_db, errors[1].sqnr_db);
}

TEST_F(SensitivityTest, LayersThatTheMappingKeepsFloatHaveNoRow) {
  nn::Sequential model(nn::Linear(8, 12), nn::ReLU(), nn::Linear(12, 5));
  const Graph graph = traced(model);
  const auto mapping = QConfigMapping::static_int8().set_name("2", std::nullopt);
  for (const auto mode : {SensitivityMode::one, SensitivityMode::all_but_one}) {
    const Sensitivity s = measured(graph, mode, mapping);
    ASSERT_EQ(s.layers.size(), 1u);
    EXPECT_EQ(s.layers[0].name, "0");
  }
}

TEST_F(SensitivityTest, WithoutBatchesThereIsNothingToCompareOn) {
  nn::Sequential model(nn::Linear(8, 12));
  const Graph graph = traced(model);
  CalibratedGraph calibrated(graph, QConfigMapping::static_int8(), [this](Graph& g) { g(Tensor(data)); });
  EXPECT_THROW(measure_sensitivity(calibrated, [](Graph&) { return 1.0; }, {}), ValueError);
}

}  // namespace
}  // namespace thimble::quant
