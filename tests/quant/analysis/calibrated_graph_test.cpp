#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/quant/analysis/calibrated_graph.h>

namespace thimble::quant {
namespace {

struct Residual : nn::Module {
  nn::Submodule<nn::Linear> fc1{this, "fc1", 8, 8}, fc2{this, "fc2", 8, 8}, fc3{this, "fc3", 8, 8},
      fc4{this, "fc4", 8, 3};
  Tensor forward(const Tensor& x) override {
    const Tensor h = relu(fc1(x));
    return fc4(clamp(fc3(relu(fc2(h) + h)), -0.5, 0.5));
  }
};

class CalibratedGraphTest : public QuantizeTest {
 protected:
  CalibratedGraph::Calibrate calibrate() {
    return [this](Graph& prepared) {
      prepared(Tensor(data));
      ++calibrations;
    };
  }
  void expect_same(const Graph& a, const Graph& b) {
    EXPECT_EQ(a.table(), b.table());
    const auto arrays = arrays_of(b);
    ASSERT_EQ(arrays_of(a).size(), arrays.size());
    for (const auto& [name, array] : arrays_of(a))
      EXPECT_EQ(array.to_vector<double>(), arrays.at(name).to_vector<double>()) << name;
  }

  int calibrations = 0;
};

TEST_F(CalibratedGraphTest, NamesTheLayersThatTheMappingQuantizes) {
  Residual model;
  const Graph graph = traced(model);
  const CalibratedGraph calibrated(graph, QConfigMapping::static_int8().set_name("fc3", std::nullopt), calibrate());
  std::vector<std::string> names;
  for (const Product& product : calibrated.products()) names.push_back(product.name);
  EXPECT_THAT(names, testing::ElementsAre("fc1", "fc2", "fc4"));
  EXPECT_EQ(calibrated.products()[0].type, "LinearReLU");
}

TEST_F(CalibratedGraphTest, GivesWhatQuantizeModelGives) {
  Residual model;
  const Graph graph = traced(model);
  for (const char* observer : {"minmax", "mse"}) {
    QConfig config;
    config.observer = config.weight_observer = observer;
    const auto base = QConfigMapping().set_global(config);
    CalibratedGraph calibrated(graph, base, calibrate());
    std::vector<QConfigMapping> mappings{base, base};
    for (const Product& product : calibrated.products()) {
      config.weight.bits = 3;
      mappings.push_back(QConfigMapping().set_name(product.name, product.config));
      mappings.push_back(QConfigMapping(base).set_name(product.name, std::nullopt));
      mappings.push_back(QConfigMapping(base).set_name(product.name, config));
    }
    config.activation.bits = 5;
    mappings.push_back(QConfigMapping().set_global(config));
    for (const QConfigMapping& mapping : mappings)
      expect_same(calibrated.quantized(mapping), quantized(graph, mapping).graph);
  }
}

TEST_F(CalibratedGraphTest, CalibratesOnceForOtherWeightsAndFloatLayers) {
  nn::Sequential model(nn::Linear(8, 12), nn::ReLU(), nn::Linear(12, 5));
  const Graph graph = traced(model);
  CalibratedGraph calibrated(graph, QConfigMapping::static_int8(), calibrate());
  EXPECT_EQ(calibrations, 1);
  QConfig config;
  config.weight.bits = 4;
  config.weight_observer = "mse";
  calibrated.quantized(QConfigMapping().set_global(config));
  calibrated.quantized(QConfigMapping().set_name("2", config));
  EXPECT_EQ(calibrations, 1);
  config.activation.bits = 4;  // observed otherwise
  calibrated.quantized(QConfigMapping().set_global(config));
  EXPECT_EQ(calibrations, 2);
}

TEST_F(CalibratedGraphTest, TheReferenceIsTheFusedGraph) {
  Residual model;
  Graph graph = traced(model);
  const CalibratedGraph calibrated(graph, QConfigMapping::static_int8(), calibrate());
  Graph reference = calibrated.reference().clone();
  EXPECT_FALSE(reference.training());
  EXPECT_TRUE(reference.is_layer(reference.find("fc1"), "LinearReLU"));
  EXPECT_EQ(reference(Tensor(data)).data().to_vector<float>(), graph(Tensor(data)).data().to_vector<float>());
}

TEST_F(CalibratedGraphTest, MistakesAreThoseOfPreparation) {
  Residual model;
  const Graph graph = traced(model);
  EXPECT_THROW(CalibratedGraph(graph, QConfigMapping::static_int8().set_name("fc9", std::nullopt), calibrate()),
               ValueError);
  CalibratedGraph uncalibrated(graph, QConfigMapping::static_int8(), [](Graph&) {});
  EXPECT_THROW(uncalibrated.quantized(QConfigMapping::static_int8()), ValueError);
  CalibratedGraph calibrated(graph, QConfigMapping::static_int8(), calibrate());
  EXPECT_THROW(calibrated.quantized(QConfigMapping().set_name("fc9", std::nullopt)), ValueError);
}

}  // namespace
}  // namespace thimble::quant
