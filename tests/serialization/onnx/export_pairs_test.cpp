// Integer layers of two values, and what moves and averages integers, exported and imported again.
#include <gtest/gtest.h>

#include "tests/serialization/onnx/model_builder.h"
#include <thimble/core/random.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/quant/layers/quantized_group_norm.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {
namespace {

using quant::TensorQParams;

int nodes_of_type(const nn::Graph& graph, std::string_view type) {
  int found = 0;
  for (const nn::Node* node : graph.nodes()) found += graph.is_layer(node, type) || graph.is_op(node, type);
  return found;
}

// Of [n, 4, 6, 6].
nn::Graph pairs_of_integers() {
  const TensorQParams in{0.03f, 120, 8}, one{0.05f, 128, 8}, two{0.02f, 60, 8}, out{0.04f, 100, 8};
  nn::Graph graph;
  nn::Node* x = graph.add_input("x");
  x->attributes = nn::sample_attributes(Tensor(NDArray::zeros({1, 4, 6, 6})));
  nn::Node* q = graph.add_layer("q", std::make_shared<quant::Quantize>(in), {x});
  nn::Node* r = graph.add_layer("r", std::make_shared<quant::Requantize>(in, one), {q});
  nn::Node* difference = graph.add_layer("difference", std::make_shared<quant::QuantizedSub>(in, one, two), {q, r});
  nn::Node* larger =
      graph.add_layer("larger", std::make_shared<quant::QuantizedMaximum>(two, in, one), {difference, q});
  nn::Node* smaller = graph.add_layer("smaller", std::make_shared<quant::QuantizedMinimum>(one, in, out), {larger, q});
  graph.set_output(graph.add_layer("y", std::make_shared<quant::Dequantize>(out), {smaller}));
  graph.eval();
  return graph;
}

TEST(OnnxExportPairs, OfIntegersAreThatAgain) {
  for (const int64_t opset : {17, 21}) {
    nn::Graph graph = pairs_of_integers();
    nn::Graph again = Importer(Exporter(graph, {.opset = opset}).run(), ".").run();
    for (const char* type : {"QuantizedSub", "QuantizedMaximum", "QuantizedMinimum", "Quantize", "Dequantize"})
      EXPECT_EQ(nodes_of_type(again, type), 1) << type << again.table();
    Generator generator(5);
    const Tensor x(randn({3, 4, 6, 6}, generator));
    EXPECT_EQ(again(x).data().to_vector<float>(), graph(x).data().to_vector<float>());
  }
}

TEST(OnnxExportPairs, NormalizationsOfGroupsAreThatAgain) {
  const TensorQParams in{0.03f, 120, 8}, out{0.02f, 100, 8};
  const Tensor weight(NDArray::from_vector<float>({1, -2, 0.5f, 1.5f})),
      bias(NDArray::from_vector<float>({0, 1, 2, -1}));
  for (const int64_t groups : {2, 4})
    for (const bool affine : {true, false}) {
      const nn::GroupNorm norm(groups, 4, 1e-4, affine ? weight : Tensor(), affine ? bias : Tensor());
      nn::Graph graph;
      nn::Node* x = graph.add_input("x");
      x->attributes = nn::sample_attributes(Tensor(NDArray::zeros({1, 4, 6, 6})));
      nn::Node* q = graph.add_layer("q", std::make_shared<quant::Quantize>(in), {x});
      nn::Node* n = graph.add_layer("n", quant::QuantizedGroupNorm::from_float(norm, in, out), {q});
      graph.set_output(graph.add_layer("y", std::make_shared<quant::Dequantize>(out), {n}));
      graph.eval();
      Generator generator(7);
      const Tensor data(randn({3, 4, 6, 6}, generator));
      for (const int64_t opset : {17, 21}) {
        nn::Graph again = Importer(Exporter(graph, {.opset = opset}).run(), ".").run();
        const bool is_one_op = groups == 4 || opset == 21 || !affine;
        EXPECT_EQ(nodes_of_type(again, "QuantizedGroupNorm"), is_one_op ? 1 : 0) << again.table();
        const auto got = again(data).data().to_vector<double>(), expected = graph(data).data().to_vector<double>();
        for (size_t i = 0; i < got.size(); ++i) {
          if (is_one_op)
            ASSERT_EQ(got[i], expected[i]);
          else
            ASSERT_NEAR(got[i], expected[i], 0.0201);
        }
      }
    }
}

// Ops on integers; means of neighbours stand between DequantizeLinear and QuantizeLinear.
TEST(OnnxExportPairs, WhatMovesIntegersMovesThemAgain) {
  using Integers = std::vector<int64_t>;
  const Attributes linear{{"mode", "linear"}, {"axes", Integers{2, 3}}, {"sizes", Integers{9, 12}}},
      nearest{{"mode", "nearest"}, {"axes", Integers{2, 3}}, {"sizes", Integers{9, 12}}};
  const std::pair<const char*, Attributes> ops[] = {
      {"interpolate", linear},
      {"interpolate", nearest},
      {"pad", {{"padding", Integers{1, 2, 0, 1}}, {"mode", "reflect"}}},
      {"pad", {{"padding", Integers{1, 2, 0, 1}}, {"mode", "replicate"}}},
      {"pad", {{"padding", Integers{1, 2, 0, 1}}, {"value", 120.0}}},
      {"tile", {{"repeats", Integers{1, 2, 1, 1}}}},
  };
  for (const auto& [op, attributes] : ops) {
    SCOPED_TRACE(op);
    const TensorQParams in{0.03f, 120, 8};
    nn::Graph graph;
    nn::Node* x = graph.add_input("x");
    x->attributes = nn::sample_attributes(Tensor(NDArray::zeros({1, 4, 6, 6})));
    nn::Node* q = graph.add_layer("q", std::make_shared<quant::Quantize>(in), {x});
    nn::Node* moved = graph.add_op("moved", op, attributes, {q});
    graph.set_output(graph.add_layer("y", std::make_shared<quant::Dequantize>(in), {moved}));
    graph.eval();
    nn::Graph again = Importer(Exporter(graph, {}).run(), ".").run();
    EXPECT_EQ(nodes_of_type(again, op), 1) << again.table();
    EXPECT_EQ(again.nodes().size(), graph.nodes().size()) << again.table();
    Generator generator(6);
    const Tensor data(randn({3, 4, 6, 6}, generator));
    EXPECT_EQ(again(data).data().to_vector<float>(), graph(data).data().to_vector<float>());
  }
}

}  // namespace
}  // namespace thimble::onnx
