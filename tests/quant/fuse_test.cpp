#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/activation.h>
#include <thimble/nn/container.h>
#include <thimble/nn/trace.h>
#include <thimble/quant/fuse.h>

namespace thimble::quant {
namespace {

using nn::Graph;
using nn::Node;

const Shape kInput{3, 4};

int count(const Graph& graph, std::string_view type) {
  int found = 0;
  for (const Node* node : graph.nodes()) found += graph.is_layer(node, type) || graph.is_op(node, type);
  return found;
}

// Fuses, and holds every fusion to what it must keep: the values, and its input.
Graph fused(const Graph& graph) {
  std::mt19937 rng(1);
  const Tensor x = random_normal(kInput, rng);
  Graph original = graph.clone();
  const std::string before = graph.table();
  Graph result = fuse_conv_bn_relu(graph);
  EXPECT_EQ(graph.table(), before) << "the pass changed its input";
  EXPECT_EQ(result(x).data().to_vector<float>(), original(x).data().to_vector<float>());
  return result;
}

Graph traced(nn::Module& model) {
  manual_seed(2);
  return nn::trace(model, Tensor(NDArray::ones(kInput)));
}

TEST(Fuse, LinearAndReluBecomeOne) {
  nn::Sequential model(nn::Linear(4, 5), nn::ReLU(), nn::Linear(5, 6), nn::ReLU(), nn::Linear(6, 2));
  const Graph result = fused(traced(model));
  EXPECT_EQ(count(result, "LinearReLU"), 2);
  EXPECT_EQ(count(result, "Linear"), 1);
  EXPECT_EQ(count(result, "relu"), 0);
  EXPECT_NE(result.find("0"), nullptr) << "the fused node keeps the linear layer's name";
  EXPECT_EQ(result.num_parameters(), model.num_parameters());
}

TEST(Fuse, FindsReluWrittenAsAFunction) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 5};
    Tensor forward(const Tensor& x) override { return relu(fc(x)); }
  } model;
  const Graph result = fused(traced(model));
  EXPECT_TRUE(result.is_layer(result.find("fc"), "LinearReLU"));
  EXPECT_EQ(result.output(), result.find("fc"));
  EXPECT_EQ(count(result, "relu"), 0);
}

TEST(Fuse, KeepsLayersWithoutBias) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 5, nn::Linear::Options{.bias = false}};
    Tensor forward(const Tensor& x) override { return relu(fc(x)); }
  } model;
  const Graph result = fused(traced(model));
  EXPECT_EQ(count(result, "LinearReLU"), 1);
  EXPECT_EQ(result.num_parameters(), 20);
}

TEST(Fuse, ReluBeforeLinearIsNotFused) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 5};
    Tensor forward(const Tensor& x) override { return fc(relu(x)); }
  } model;
  const Graph result = fused(traced(model));
  EXPECT_EQ(count(result, "LinearReLU"), 0);
  EXPECT_EQ(count(result, "relu"), 1);
}

TEST(Fuse, ALinearWithASecondUserIsNotFused) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 5};
    Tensor forward(const Tensor& x) override {
      const Tensor h = fc(x);
      return relu(h) + h;
    }
  } model;
  EXPECT_EQ(count(fused(traced(model)), "LinearReLU"), 0);
}

TEST(Fuse, ALinearWithTwoRelusIsNotFused) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 5};
    Tensor forward(const Tensor& x) override {
      const Tensor h = fc(x);
      return relu(h) * relu(h);
    }
  } model;
  EXPECT_EQ(count(fused(traced(model)), "relu"), 2);
}

TEST(Fuse, ASharedLayerIsNotFused) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 4};
    Tensor forward(const Tensor& x) override { return fc(relu(fc(x))); }
  } model;
  const Graph result = fused(traced(model));
  EXPECT_EQ(count(result, "LinearReLU"), 0);
  EXPECT_EQ(count(result, "Linear"), 2);
}

TEST(Fuse, ALinearThatIsTheOutputIsNotFused) {
  Graph graph;
  Node* input = graph.add_input("input");
  Node* fc = graph.add_layer("fc", std::make_shared<nn::Linear>(4, 5), {input});
  graph.add_op("relu", "relu", {}, {fc});
  graph.set_output(fc);
  EXPECT_EQ(count(fused(graph), "Linear"), 1);
}

TEST(Fuse, TheReluMayBeUsedManyTimesAndBeTheOutput) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc1{this, "fc1", 4, 5}, fc2{this, "fc2", 5, 5};
    Tensor forward(const Tensor& x) override {
      const Tensor h = relu(fc1(x));
      return relu(fc2(h) + h);
    }
  } model;
  const Graph result = fused(traced(model));
  EXPECT_EQ(count(result, "LinearReLU"), 1);
  EXPECT_EQ(count(result, "Linear"), 1);
  EXPECT_EQ(count(result, "relu"), 1);
}

TEST(Fuse, OtherActivationsAreNotFused) {
  nn::Sequential model(nn::Linear(4, 5), nn::GELU(), nn::Linear(5, 2), nn::ReLU6());
  EXPECT_EQ(count(fused(traced(model)), "Linear"), 2);
}

TEST(Fuse, TheResultSharesNoMemoryAndFusingAgainChangesNothing) {
  nn::Sequential model(nn::Linear(4, 5), nn::ReLU());
  Graph graph = traced(model);
  Graph result = fuse_conv_bn_relu(graph);
  for (auto& p : result.parameters()) p.mutable_data().fill(0);
  for (const auto& p : graph.parameters())
    for (const float v : p.data().to_vector<float>()) EXPECT_NE(v, 0.0f);
  EXPECT_EQ(fuse_conv_bn_relu(result).table(), result.table());
}

}  // namespace
}  // namespace thimble::quant
