// Models of recurrent layers, quantized.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/recurrent.h>
#include <thimble/quant/layers/quantized_recurrent.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {
namespace {

using nn::Graph;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// [n, steps, 6] -> [n, 4], of the last step.
template <typename Layer>
struct RecurrentReader : nn::Module {
  nn::Submodule<nn::Linear> before{this, "before", 6, 5}, after{this, "after", 32, 4};
  nn::Submodule<Layer> rows{this, "rows", 5, 16, {.num_layers = 2, .batch_first = true, .bidirectional = true}};
  Tensor forward(const Tensor& x) override {
    const Tensor y = rows(before(x));
    return after(squeeze(slice(y, 1, -1, y.shape(1)), 1));
  }
};

class RecurrentQuantization : public testing::Test {
 protected:
  RecurrentQuantization() {
    manual_seed(5);
    std::mt19937 rng(1);
    for (int i = 0; i < 4; ++i) batches.emplace_back(random_normal({8, 7, 6}, rng));
  }

  template <typename Model>
  Graph traced() {
    Model model;
    return nn::trace(model.eval(), batches[0]);
  }

  double relative_error(Graph& graph, Graph& original) const {
    const NoGrad guard;
    const Tensor y = original(batches[3]), e = graph(batches[3]) - y;
    return std::sqrt(mean(e * e).item<double>() / mean(y * y).item<double>());
  }

  static std::string type_of(const Graph& graph, const std::string& name) {
    const nn::Node* node = graph.find(name);
    return node ? graph.layer(node).type() : "none";
  }

  static const QuantizedRecurrent& rows_of(const Graph& graph) {
    return *graph.layer_as<QuantizedRecurrent>(graph.find("rows"));
  }

  static const LayerReport& entry_of(const ConversionReport& report, const std::string& name) {
    const auto it = std::ranges::find(report, name, &LayerReport::name);
    if (it == report.end()) throw Error("no entry for " + name);
    return *it;
  }

  std::vector<Tensor> batches;
};

template <typename Layer>
class RecurrentQuantizationOf : public RecurrentQuantization {};
using Layers = testing::Types<nn::LSTM, nn::GRU, nn::RNN>;
TYPED_TEST_SUITE(RecurrentQuantizationOf, Layers);

TYPED_TEST(RecurrentQuantizationOf, DynamicTakesAndGivesFloats) {
  Graph graph = this->template traced<RecurrentReader<TypeParam>>();
  ConversionReport report;
  Graph quantized = quantize_dynamic(graph, QConfigMapping::static_int8(), &report);
  EXPECT_THAT(this->type_of(quantized, "rows"), HasSubstr("Quantized"));
  EXPECT_FALSE(this->rows_of(quantized).config().input);
  EXPECT_FALSE(this->entry_of(report, "rows").kept_float);
  EXPECT_EQ(this->entry_of(report, "rows").weight_bits, 8);
  EXPECT_LT(this->relative_error(quantized, graph), 0.03);
}

// Integers from layer to layer.
TYPED_TEST(RecurrentQuantizationOf, StaticTakesAndGivesIntegers) {
  Graph graph = this->template traced<RecurrentReader<TypeParam>>();
  ConversionReport report;
  Graph quantized = quantize_model(graph, this->batches, QConfigMapping::static_int8(), &report);
  const auto& config = this->rows_of(quantized).config();
  EXPECT_TRUE(config.input);
  EXPECT_TRUE(config.output);
  EXPECT_FALSE(this->entry_of(report, "rows").kept_float);
  for (const nn::Node* node : quantized.nodes()) EXPECT_FALSE(quantized.is_layer(node, "Dequantize")) << node->name;
  EXPECT_LT(this->relative_error(quantized, graph), 0.03);
}

TYPED_TEST(RecurrentQuantizationOf, GivesTheSameOnEveryMachineAndInEveryBatch) {
  Graph graph = this->template traced<RecurrentReader<TypeParam>>();
  for (const bool is_static : {false, true}) {
    Graph quantized = is_static ? quantize_model(graph, this->batches) : quantize_dynamic(graph);
    const Tensor x = concat(this->batches);
    const NoGrad guard;
    const auto expected = quantized(x).data().template to_vector<float>();
    on_every_machine([&] { EXPECT_EQ(quantized(x).data().template to_vector<float>(), expected); });
    std::vector<Tensor> parts;
    for (const Tensor& batch : this->batches) parts.push_back(quantized(batch));
    EXPECT_EQ(concat(parts).data().template to_vector<float>(), expected);
  }
}

struct LastState : nn::Module {
  nn::Submodule<nn::LSTM> rows{this, "rows", 6, 8, {.batch_first = true}};
  nn::Submodule<nn::Linear> after{this, "after", 16, 4};
  Tensor forward(const Tensor& x) override {
    const nn::RecurrentOutput y = rows->run(x);
    return after(flatten(permute(concat({y.h_n, y.c_n}), {1, 0, 2}), 1));
  }
};

TEST_F(RecurrentQuantization, StatesAreFloats) {
  Graph graph = traced<LastState>();
  for (const bool is_static : {false, true}) {
    Graph quantized = is_static ? quantize_model(graph, batches) : quantize_dynamic(graph);
    EXPECT_EQ(type_of(quantized, "rows"), "QuantizedLSTM");
    EXPECT_FALSE(rows_of(quantized).config().output);
    EXPECT_LT(relative_error(quantized, graph), 0.03) << is_static;
  }
}

// Read by nothing but an output of the graph.
TEST_F(RecurrentQuantization, AloneItGivesFloats) {
  nn::GRU gru(6, 8, {.batch_first = true});
  Graph graph = nn::trace(gru.eval(), batches[0]);
  Graph quantized = quantize_model(graph, batches);
  const nn::Node* node = quantized.outputs()[0].node;
  ASSERT_TRUE(quantized.is_layer(node, "QuantizedGRU"));
  EXPECT_FALSE(quantized.layer_as<QuantizedRecurrent>(node)->config().output);
  EXPECT_LT(relative_error(quantized, graph), 0.02);
}

struct TwoCalls : nn::Module {
  nn::Submodule<nn::LSTM> rows{this, "rows", 6, 6, {.batch_first = true}};
  nn::Submodule<nn::Linear> after{this, "after", 6, 4};
  Tensor forward(const Tensor& x) override { return after(rows(4 * rows(x))); }
};

TEST_F(RecurrentQuantization, EachCallOfALayerHasItsOwnParameters) {
  Graph graph = traced<TwoCalls>();
  Graph quantized = quantize_model(graph, batches);
  std::vector<float> scales;
  for (const nn::Node* node : quantized.nodes())
    if (const auto* layer = quantized.layer_as<QuantizedRecurrent>(node))
      scales.push_back(layer->config().input->scale);
  ASSERT_EQ(scales.size(), 2u);
  EXPECT_NE(scales[0], scales[1]);
  EXPECT_LT(relative_error(quantized, graph), 0.03);
  Graph dynamic = quantize_dynamic(graph);
  EXPECT_LT(relative_error(dynamic, graph), 0.03);
}

TEST_F(RecurrentQuantization, WhatStaysFloatSaysWhy) {
  Graph graph = traced<RecurrentReader<nn::LSTM>>();
  auto mapping = QConfigMapping::static_int8();
  mapping.set_type("LSTM", std::nullopt);
  ConversionReport report;
  Graph quantized = quantize_model(graph, batches, mapping, &report);
  EXPECT_EQ(type_of(quantized, "rows"), "LSTM");
  EXPECT_EQ(entry_of(report, "rows").reason, "its configuration keeps it float");
  (void)quantize_dynamic(graph, mapping, &report);
  EXPECT_EQ(entry_of(report, "rows").reason, "its configuration keeps it float");
  (void)quantize_weight_only(graph, QConfigMapping::static_int8(), &report);
  EXPECT_THAT(entry_of(report, "rows").reason, HasSubstr("of linear layers"));

  nn::GRU wide(70000, 1);
  const Graph too_wide = nn::trace(wide.eval(), Tensor(NDArray::zeros({1, 1, 70000})));
  EXPECT_THAT([&] { (void)quantize_dynamic(too_wide); },
              ThrowsMessage<ValueError>(HasSubstr("it adds 70000 products")));
}

TEST_F(RecurrentQuantization, WeightsThatAreNotFiniteAreAnErrorOfPrepare) {
  nn::LSTM lstm(6, 4, {.batch_first = true});
  Tensor weight = lstm.weights(0).hh;
  weight.mutable_data().data<float>()[3] = std::nanf("");
  const Graph graph = nn::trace(lstm.eval(), batches[0]);
  EXPECT_THROW((void)prepare(graph, QConfigMapping::static_int8()), ValueError);
  EXPECT_THROW((void)quantize_dynamic(graph), ValueError);
}

}  // namespace
}  // namespace thimble::quant
