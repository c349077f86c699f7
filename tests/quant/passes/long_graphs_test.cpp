// Passes over graphs so long that searching all nodes for each of them, or recursion along them, would not do.
#include <gtest/gtest.h>

#include "tests/sanitized.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/value_functions.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {
namespace {

// Layers whose weights keep values as they are.
std::shared_ptr<nn::Linear> identity() {
  return std::make_shared<nn::Linear>(Tensor(NDArray::from_vector<float>({1, 0, 0, 1}, {2, 2})), Tensor());
}

// Each may be part of a function, and none of them is.
TEST(LongGraphs, OfClampsAndSumsAreSearchedForFunctionsOnce) {
  constexpr int kOps = kSanitized ? 3000 : 30000;
  nn::Graph graph;
  nn::Node* x = graph.add_layer("fc", identity(), {graph.add_input("x")});
  nn::Node* last = x;
  for (int i = 0; i < kOps; ++i) last = graph.add_op("relu", "relu", {}, {last});
  for (int i = 0; i < kOps; ++i) last = graph.add_op("add", "add", {}, {last, x});
  graph.set_output(graph.add_layer("head", identity(), {last}));
  const ValueFunctions functions(graph);
  EXPECT_EQ(functions.around(graph.find("relu")), nullptr);
}

TEST(LongGraphs, OfThousandsOfLayersAreFusedAndQuantized) {
  constexpr int kLayers = 4000;
  nn::Graph graph;
  nn::Node* last = graph.add_input("x");
  for (int i = 0; i < kLayers; ++i)
    last = graph.add_op("relu", "relu", {}, {graph.add_layer("fc", identity(), {last})});
  graph.set_output(last);
  graph.eval();
  const Tensor x = NDArray::from_vector<float>({1, 0.5});
  const Tensor rows = reshape(x, {1, 2});
  const nn::Graph fused = fuse_conv_bn_relu(graph);
  EXPECT_EQ(fused.nodes().size(), 1u + kLayers);
  ConversionReport report;
  nn::Graph integers = quantize_model(
      graph, [&](nn::Graph& prepared) { prepared(rows); }, QConfigMapping::static_int8(), &report);
  EXPECT_EQ(report.size(), static_cast<size_t>(kLayers));
  EXPECT_EQ(integers.children().size(), kLayers + 1u);
  EXPECT_NEAR(integers(rows).data().data<float>()[0], 1, 0.01);
  EXPECT_EQ(quantize_dynamic(graph).children().size(), static_cast<size_t>(kLayers));
}

TEST(LongGraphs, OfAHundredThousandOpsBetweenLayersAreQuantized) {
  constexpr int kOps = kSanitized ? 20000 : 100000;
  nn::Graph graph;
  nn::Node* last = graph.add_layer("first", identity(), {graph.add_input("x")});
  for (int i = 0; i < kOps; ++i)
    last = i % 2 ? graph.add_op("view", "reshape", {{"shape", std::vector<int64_t>{-1, 2}}}, {last})
                 : graph.add_op("turn", "transpose", {{"axis0", int64_t{0}}, {"axis1", int64_t{1}}}, {last});
  graph.set_output(graph.add_layer("last", identity(), {last}));
  graph.eval();
  const Tensor x = NDArray::from_vector<float>({1, 0.5, -1, 0.25}, {2, 2});
  nn::Graph integers = quantize_model(graph, [&](nn::Graph& prepared) { prepared(x); });
  EXPECT_TRUE(integers.is_layer(integers.find("first"), "QuantizedLinear"));
  EXPECT_EQ(integers.nodes().size(), kOps + 4u) << "one quantize, no dequantize";
  EXPECT_EQ(integers(x).shape(), x.shape());
}

}  // namespace
}  // namespace thimble::quant
