#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/nn/random_model.h"
#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv3d.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/fused.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/quant/passes/fuse.h>

namespace thimble::quant {
namespace {

using nn::Graph;
using nn::Node;
using testing::HasSubstr;

const Shape kInput{3, 4};
const Shape kImages{2, 3, 8, 8};

int count(const Graph& graph, std::string_view type) {
  int found = 0;
  for (const Node* node : graph.nodes()) found += graph.is_layer(node, type) || graph.is_op(node, type);
  return found;
}

float largest_of(const Tensor& x) {
  float largest = 0;
  for (const float v : x.data().to_vector<float>()) largest = std::max(largest, std::abs(v));
  return largest;
}

// Within 1e-5 of the largest of the expected values, or of `floor`.
void expect_close(const Tensor& got, const Tensor& expected, const std::string& what, float floor = 0) {
  ASSERT_EQ(got.shape(), expected.shape()) << what;
  const auto g = got.data().to_vector<float>(), e = expected.data().to_vector<float>();
  float difference = 0;
  for (size_t i = 0; i < e.size(); ++i) {
    ASSERT_TRUE(std::isfinite(e[i]) && std::isfinite(g[i])) << what;
    difference = std::max(difference, std::abs(g[i] - e[i]));
  }
  EXPECT_LE(difference, 1e-5f * std::max(largest_of(expected), floor)) << what;
}

// Fuses, and holds every fusion to what it must keep: the values, and its input.
Graph fused(const Graph& graph, FusionReport* report = nullptr, const Shape& input = kInput) {
  std::mt19937 rng(1);
  const Tensor x = random_normal(input, rng);
  Graph original = graph.clone();
  original.eval();
  const std::string before = graph.table();
  const Graph result = fuse_conv_bn_relu(graph, report);
  EXPECT_EQ(graph.table(), before) << "the pass changed its input";
  Graph evaluated = result.clone();
  evaluated.eval();
  expect_close(evaluated(x), original(x), "fused");
  EXPECT_EQ(fuse_conv_bn_relu(result).table(), result.table());
  return result.clone();
}

Graph traced(nn::Module& model, const Shape& input = kInput) { return nn::trace(model, Tensor(NDArray::ones(input))); }

// Statistics and weights as training leaves them.
void randomize(nn::BatchNorm& bn, uint64_t seed) {
  Generator rng(seed);
  const Shape shape = bn.running_mean.shape();
  bn.running_mean.set_data(randn(shape, rng));
  bn.running_var.set_data((rand(shape, rng) + 0.1).data());
  if (!bn.weight.defined()) return;
  bn.weight.set_data(randn(shape, rng));
  bn.bias.set_data(randn(shape, rng));
}

void randomize_batch_norms(nn::Module& model) {
  uint64_t seed = 0;
  for (const auto& [path, module] : model.named_modules())
    if (const auto* bn = dynamic_cast<const nn::BatchNorm*>(module)) randomize(const_cast<nn::BatchNorm&>(*bn), ++seed);
}

// The reason why `node` was not fused with what follows it.
std::string reason(const FusionReport& report, const std::string& node) {
  for (const FusionAttempt& attempt : report)
    if (attempt.node == node && !attempt.fused) return attempt.reason;
  return "none";
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
  EXPECT_EQ(count(result, "add_relu"), 1);
  EXPECT_EQ(count(result, "relu"), 0);
}

TEST(Fuse, OtherActivationsAreNotFused) {
  nn::Sequential model(nn::Linear(4, 5), nn::GELU(), nn::Linear(5, 2), nn::ReLU6());
  EXPECT_EQ(count(fused(traced(model)), "Linear"), 2);
}

TEST(Fuse, TheResultSharesNoMemoryAndFusingAgainChangesNothing) {
  nn::Sequential model(nn::Linear(4, 5), nn::ReLU());
  Graph graph = traced(model);
  Graph result = fuse_conv_bn_relu(graph);
  const auto x = NDArray::ones(kInput);
  EXPECT_EQ(result(x).data().to_vector<float>(), graph(x).data().to_vector<float>());
  for (auto& p : result.parameters()) p.mutable_data().fill(0);
  for (const auto& p : graph.parameters())
    for (const float v : p.data().to_vector<float>()) EXPECT_NE(v, 0.0f);
  EXPECT_EQ(fuse_conv_bn_relu(result).table(), result.table());
}

TEST(Fuse, ConvBatchNormAndReluBecomeOneInsideOfContainers) {
  struct Net : nn::Module {
    nn::Submodule<nn::ConvBNReLU> block{this, "block", 3, 6, 3, {.padding = 1}};
    nn::Submodule<nn::Sequential> tail{this, "tail", nn::Conv2d(6, 4, 3), nn::BatchNorm2d(4)};
    Tensor forward(const Tensor& x) override { return relu(tail(block(x))); }
  } model;
  randomize_batch_norms(model);
  model.eval();
  FusionReport report;
  const Graph result = fused(traced(model, kImages), &report, kImages);
  EXPECT_EQ(result.nodes().size(), 3u) << result.table();
  EXPECT_TRUE(result.is_layer(result.find("block.conv"), "Conv2dReLU"));
  EXPECT_TRUE(result.is_layer(result.find("tail.0"), "Conv2dReLU"));
  ASSERT_EQ(report.size(), 4u);
  for (const FusionAttempt& attempt : report) EXPECT_TRUE(attempt.fused && attempt.reason.empty()) << attempt.node;
  EXPECT_EQ(report[0].node, "block.conv");
  EXPECT_EQ(report[0].with, "block.bn");
  EXPECT_EQ(report[1].node, "block.conv");
  EXPECT_EQ(report[1].with, "block.relu");
}

TEST(Fuse, FoldsWithEachOutputChannelsScaleAndShift) {
  for (const bool bias : {false, true}) {
    for (const bool affine : {false, true}) {
      nn::Sequential model(nn::Conv2d(3, 4, 2, nn::Conv2d::Options{.bias = bias}),
                           nn::BatchNorm2d(4, {.eps = 0.01, .affine = affine}));
      randomize_batch_norms(model);
      const Graph graph = traced(model.eval(), kImages), result = fused(graph, nullptr, kImages);
      const auto* conv = graph.layer_as<nn::Conv2d>(graph.find("0"));
      const auto* bn = graph.layer_as<nn::BatchNorm>(graph.find("1"));
      const auto* folded = result.layer_as<nn::Conv2d>(result.find("0"));
      ASSERT_TRUE(folded && folded->bias.defined());
      for (int64_t c = 0; c < 4; ++c) {
        const auto number = [&](const Tensor& t, double otherwise) {
          return t.defined() ? t.data().to_vector<double>()[static_cast<size_t>(c)] : otherwise;
        };
        const double scale = number(bn->weight, 1) / std::sqrt(number(bn->running_var, 1) + 0.01);
        const double shift = (number(conv->bias, 0) - number(bn->running_mean, 0)) * scale + number(bn->bias, 0);
        EXPECT_EQ(number(folded->bias, 0), static_cast<float>(shift));
        const auto before = conv->weight.data().to_vector<double>(), after = folded->weight.data().to_vector<double>();
        for (size_t i = static_cast<size_t>(c) * 12; i < static_cast<size_t>(c + 1) * 12; ++i)
          EXPECT_EQ(after[i], static_cast<float>(before[i] * scale));
      }
    }
  }
}

TEST(Fuse, BatchNormOverRowsAndSequences) {
  nn::Sequential rows(nn::Linear(4, 5), nn::BatchNorm1d(5), nn::ReLU(),
                      nn::Linear(5, 5, nn::Linear::Options{.bias = false}), nn::BatchNorm1d(5));
  randomize_batch_norms(rows);
  const Graph of_rows = fused(traced(rows.eval()));
  EXPECT_EQ(of_rows.nodes().size(), 3u) << of_rows.table();
  EXPECT_EQ(count(of_rows, "LinearReLU"), 1);
  EXPECT_EQ(count(of_rows, "Linear"), 1);

  const Shape shape{2, 4, 9};
  nn::Sequential sequences(nn::Conv1d(4, 6, 3, {.stride = 2, .padding = 1, .groups = 2, .bias = false}),
                           nn::BatchNorm1d(6), nn::ReLU());
  randomize_batch_norms(sequences);
  const Graph of_sequences = fused(traced(sequences.eval(), shape), nullptr, shape);
  EXPECT_EQ(count(of_sequences, "Conv1d"), 1);
  EXPECT_EQ(count(of_sequences, "BatchNorm1d"), 0);
  EXPECT_EQ(count(of_sequences, "relu"), 1);

  const Shape volumes{2, 3, 3, 4, 5};
  nn::Sequential of_volumes(nn::Conv3d(3, 4, 2), nn::BatchNorm3d(4));
  randomize_batch_norms(of_volumes);
  const Graph folded = fused(traced(of_volumes.eval(), volumes), nullptr, volumes);
  EXPECT_EQ(count(folded, "Conv3d"), 1);
  EXPECT_EQ(count(folded, "BatchNorm3d"), 0);
}

TEST(Fuse, ALinearLayerOverSequencesKeepsItsBatchNorm) {
  // Of as many features as channels: the sizes alone do not tell.
  const Shape shape{2, 5, 3};
  nn::Sequential model(nn::Linear(3, 5), nn::BatchNorm1d(5));
  randomize_batch_norms(model);
  FusionReport report;
  EXPECT_EQ(count(fused(traced(model.eval(), shape), &report, shape), "BatchNorm1d"), 1);
  EXPECT_THAT(reason(report, "0"), HasSubstr("not known to be rows"));
}

TEST(Fuse, SeveralBatchNormsFoldOneAfterTheOther) {
  nn::Sequential model(nn::Conv2d(3, 4, 3), nn::BatchNorm2d(4), nn::BatchNorm2d(4), nn::ReLU(), nn::BatchNorm2d(4));
  randomize_batch_norms(model);
  const Graph result = fused(traced(model.eval(), kImages), nullptr, kImages);
  EXPECT_EQ(count(result, "Conv2dReLU"), 1);
  EXPECT_EQ(count(result, "BatchNorm2d"), 1) << "one behind relu is no part of the convolution";
}

TEST(Fuse, AddAndReluBecomeOneOp) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 4};
    Tensor forward(const Tensor& x) override { return relu(x + fc(x)) + relu(x + 1.0); }
  } model;
  const Graph result = fused(traced(model));
  EXPECT_EQ(count(result, "add_relu"), 2);
  EXPECT_EQ(count(result, "add"), 1);
  EXPECT_EQ(count(result, "relu"), 0);
  EXPECT_TRUE(result.is_op(result.find("add"), "add_relu")) << "it keeps the sum's name";
}

// As ONNX models have it, on either side.
TEST(Fuse, AnAddedConstantBecomesTheBias) {
  Graph graph;
  nn::Node* x = graph.add_input("x");
  nn::Node* first =
      graph.add_layer("first", std::make_shared<nn::Linear>(4, 3, nn::Linear::Options{.bias = false}), {x});
  const Tensor bias(NDArray::from_vector(std::vector<float>{1, 2, 3}));
  nn::Node* constant = graph.add_tensor("constant", bias);
  nn::Node* sum = graph.add_op("sum", "add", {}, {constant, first});
  nn::Node* second =
      graph.add_layer("second", std::make_shared<nn::Linear>(3, 3), {graph.add_op("relu", "relu", {}, {sum})});
  graph.set_output(graph.add_op("sum2", "add", {}, {second, constant}));
  FusionReport report;
  const Graph result = fuse_conv_bn_relu(graph, &report);
  EXPECT_EQ(report.size(), 3u);
  EXPECT_EQ(result.nodes().size(), 3u);
  EXPECT_TRUE(result.is_layer(result.find("first"), "LinearReLU"));
  const Tensor example(NDArray::full({2, 4}, 0.5));
  Graph before = graph.clone(), after = result.clone();
  const auto expected = before(example).data().to_vector<float>(), got = after(example).data().to_vector<float>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5);
}

TEST(Fuse, AddedConstantsOfOtherSizesStay) {
  for (const Shape& shape : {Shape{1}, Shape{2, 3}, Shape{1, 3}}) {
    Graph graph;
    nn::Node* fc = graph.add_layer("fc", std::make_shared<nn::Linear>(4, 3), {graph.add_input("x")});
    graph.set_output(graph.add_op("sum", "add", {}, {fc, graph.add_tensor("constant", Tensor(NDArray::ones(shape)))}));
    EXPECT_EQ(count(fuse_conv_bn_relu(graph), "add"), 1) << shape;
  }
  for (const Shape& shape : {Shape{3, 1, 1}, Shape{1, 3, 1, 1}, Shape{3}, Shape{1, 1, 3}}) {
    Graph graph;
    nn::Node* conv = graph.add_layer("conv", std::make_shared<nn::Conv2d>(2, 3, 1), {graph.add_input("x")});
    graph.set_output(graph.add_op("sum", "add", {}, {conv, graph.add_tensor("c", Tensor(NDArray::ones(shape)))}));
    EXPECT_EQ(count(fuse_conv_bn_relu(graph), "add"), shape[shape.ndim() - 1] == 3 ? 1 : 0) << shape;
  }
}

TEST(Fuse, BatchNormInTrainingModeStays) {
  nn::Sequential model(nn::ConvBNReLU(3, 4, 3), nn::ConvBNReLU(4, 4, 3));
  randomize_batch_norms(model);
  Graph graph = traced(model.eval(), kImages);
  graph.layer(graph.find("1.bn")).train();
  FusionReport report;
  const Graph result = fused(graph, &report, kImages);
  EXPECT_EQ(count(result, "BatchNorm2d"), 1);
  EXPECT_EQ(count(result, "Conv2dReLU"), 1);
  EXPECT_EQ(count(result, "relu"), 1);
  EXPECT_TRUE(result.layer(result.find("1.bn")).training());
  EXPECT_EQ(reason(report, "1.conv"), "'1.bn' is in training mode");

  graph.train();
  const Graph in_training = fused(graph, &report, kImages);
  EXPECT_EQ(in_training.nodes().size(), graph.nodes().size());
  EXPECT_TRUE(in_training.training());
}

TEST(Fuse, WhatIsCalledTwiceIsFusedOnlyWithAllItsCalls) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> shared{this, "shared", 3, 3, 1}, a{this, "a", 3, 3, 1}, b{this, "b", 3, 3, 1};
    nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 3}, shared_bn{this, "shared_bn", 3};
    Tensor forward(const Tensor& x) override {
      const Tensor h = shared_bn(a(x));
      return bn(shared(shared(x))) + h * shared_bn(b(x));
    }
  } model;
  randomize_batch_norms(model);
  FusionReport report;
  const Graph graph = traced(model.eval(), kImages), result = fused(graph, &report, kImages);
  EXPECT_EQ(result.table(), graph.table());
  ASSERT_EQ(report.size(), 3u);
  EXPECT_EQ(reason(report, "shared_1"), "'shared', which calls the same layer, is not followed by the same");
  EXPECT_EQ(reason(report, "a"), "the layer of 'shared_bn' is called behind others, too");
  EXPECT_EQ(reason(report, "b"), "the layer of 'shared_bn_1' is called behind others, too");
}

// Two towers that are one.
struct Towers : nn::Module {
  nn::Submodule<nn::ConvBNReLU> block{this, "block", 3, 4, 3};
  nn::Submodule<nn::Conv2d> conv{this, "conv", 4, 3, 1};
  bool relu_behind_both = true;
  Tensor forward(const Tensor& x) override {
    const Tensor a = relu(conv(block(x))), b = conv(block(-x));
    return abs(a - (relu_behind_both ? relu(b) : b));
  }
};

TEST(Fuse, CallsOfALayerAreFusedTogether) {
  Towers model;
  randomize_batch_norms(model);
  FusionReport report;
  const Graph result = fused(traced(model.eval(), kImages), &report, kImages);
  EXPECT_EQ(count(result, "Conv2dReLU"), 4) << result.table();
  EXPECT_EQ(count(result, "BatchNorm2d") + count(result, "relu"), 0) << result.table();
  EXPECT_EQ(result.children().size(), 2u);
  ASSERT_EQ(report.size(), 6u);
  EXPECT_TRUE(std::ranges::all_of(report, &FusionAttempt::fused));
  EXPECT_EQ(report[0].node, "block.conv");
  EXPECT_EQ(report[1].node, "block.conv_1");
  EXPECT_EQ(report[1].with, "block.bn_1");
}

// On whichever side of an op whose operands may be exchanged.
TEST(Fuse, AConstantBehindAllCallsOfALayerGoesIntoIt) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 4};
    Tensor c = register_buffer("c", NDArray::from_vector<float>({2, -3, 0.5f, 0}));
    bool exchangeable = true;
    Tensor forward(const Tensor& x) override {
      const Tensor a = fc(x);
      const Tensor y = exchangeable ? a * c : a - c, b = fc(tanh(y));
      return exchangeable ? c * b : c - b;
    }
  } model;
  FusionReport report;
  EXPECT_EQ(count(fused(traced(model), &report), "mul"), 0);
  ASSERT_EQ(report.size(), 2u);
  EXPECT_TRUE(report[0].fused && report[1].fused);
  model.exchangeable = false;
  EXPECT_EQ(count(fused(traced(model), &report), "sub"), 2);
  EXPECT_EQ(reason(report, "fc"), "'fc_1', which calls the same layer, is not followed by the same");
}

TEST(Fuse, AReluBehindOneCallAloneStays) {
  Towers model;
  model.relu_behind_both = false;
  randomize_batch_norms(model);
  FusionReport report;
  const Graph result = fused(traced(model.eval(), kImages), &report, kImages);
  EXPECT_EQ(count(result, "Conv2dReLU"), 2) << result.table();
  EXPECT_EQ(count(result, "Conv2d"), 2);
  EXPECT_EQ(count(result, "relu"), 1);
  EXPECT_EQ(reason(report, "conv"), "'conv_1', which calls the same layer, is not followed by the same");
}

TEST(Fuse, WhatSomebodyElseNeedsIsNotFused) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> conv{this, "conv", 3, 3, 1};
    nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 3};
    Tensor forward(const Tensor& x) override {
      const Tensor h = conv(x), sum = h + x;
      return bn(h) * h * relu(sum) * sum;
    }
  } model;
  randomize_batch_norms(model);
  Graph graph = traced(model.eval(), kImages);
  FusionReport report;
  EXPECT_EQ(fused(graph, &report, kImages).table(), graph.table());
  EXPECT_EQ(reason(report, "conv"), "'add' uses 'conv', too");
  EXPECT_EQ(reason(report, "add"), "'mul_2' uses 'add', too") << graph.table();

  graph.set_output(graph.find("conv"));
  EXPECT_EQ(fused(graph, &report, kImages).table(), graph.table());
  EXPECT_EQ(reason(report, "conv"), "'conv' is the graph's output");
}

TEST(Fuse, BatchNormOfOtherSizesIsNotFused) {
  Graph graph;
  Node* input = graph.add_input("input");
  Node* conv = graph.add_layer("conv", std::make_shared<nn::Conv2d>(3, 4, 1), {input});
  const auto bn = std::make_shared<nn::BatchNorm2d>(5);
  bn->eval();
  graph.set_output(graph.add_layer("bn", bn, {conv}));
  FusionReport report;
  EXPECT_EQ(fuse_conv_bn_relu(graph, &report).table(), graph.table());
  EXPECT_EQ(reason(report, "conv"), "'bn' normalizes 5 features, 'conv' has 4 output channels");
}

TEST(Fuse, FrozenParametersStayFrozenAndModesStay) {
  for (const bool frozen : {false, true}) {
    for (const bool training : {false, true}) {
      nn::Sequential model(nn::Conv2d(3, 4, 3, nn::Conv2d::Options{.bias = false}), nn::BatchNorm2d(4), nn::ReLU());
      Graph graph = traced(model.eval(), kImages);
      auto* conv = graph.layer_as<nn::Conv2d>(graph.find("0"));
      conv->weight.set_requires_grad(!frozen);
      conv->train(training);
      const Graph result = fused(graph, nullptr, kImages);
      const auto* folded = result.layer_as<nn::Conv2dReLU>(result.find("0"));
      ASSERT_NE(folded, nullptr);
      EXPECT_EQ(folded->training(), training);
      EXPECT_EQ(folded->weight.requires_grad(), !frozen);
      EXPECT_EQ(folded->bias.requires_grad(), !frozen);
    }
  }
}

// The reference networks.

std::shared_ptr<nn::Module> block(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  return std::make_shared<nn::ConvBNReLU>(in, out, kernel,
                                          nn::Conv2d::Options{.stride = stride, .padding = kernel / 2});
}

std::shared_ptr<nn::Module> pair_of_blocks(int64_t channels) {
  auto body = std::make_shared<nn::Sequential>();
  body->add(block(channels, channels, 3, 1)).add(block(channels, channels, 3, 1));
  return std::make_shared<nn::Residual>(body);
}

TEST(Fuse, CnnBecomesConvolutionsPoolsAndOneLinearLayer) {
  nn::Sequential cnn;
  cnn.add(block(1, 16, 3, 1)).emplace<nn::MaxPool2d>(2).add(block(16, 32, 3, 1)).emplace<nn::MaxPool2d>(2);
  cnn.add(block(32, 64, 3, 1)).emplace<nn::Flatten>().emplace<nn::Linear>(64 * 7 * 7, 10);
  randomize_batch_norms(cnn);
  const Shape images{2, 1, 28, 28};
  const Graph result = fused(traced(cnn.eval(), images), nullptr, images);
  EXPECT_EQ(count(result, "Conv2dReLU"), 3);
  EXPECT_EQ(count(result, "max_pool2d"), 2);
  EXPECT_EQ(count(result, "flatten") + count(result, "Linear"), 2);
  EXPECT_EQ(result.nodes().size(), 8u) << result.table();
}

TEST(Fuse, Resnet9BecomesConvolutionsSumsAndLinearLayers) {
  nn::Sequential resnet;
  resnet.add(block(3, 16, 7, 4)).add(block(16, 32, 3, 2)).add(pair_of_blocks(32)).add(block(32, 64, 3, 2));
  resnet.add(block(64, 128, 3, 2)).add(pair_of_blocks(128)).emplace<nn::Flatten>();
  resnet.emplace<nn::Linear>(128, 128).emplace<nn::ReLU>().emplace<nn::Linear>(128, 10);
  randomize_batch_norms(resnet);
  const Shape images{2, 3, 32, 32};
  const Graph result = fused(traced(resnet.eval(), images), nullptr, images);
  EXPECT_EQ(count(result, "Conv2dReLU"), 8);
  EXPECT_EQ(count(result, "add"), 2);
  EXPECT_EQ(count(result, "flatten") + count(result, "LinearReLU") + count(result, "Linear"), 3);
  EXPECT_EQ(result.nodes().size(), 14u) << result.table();
}

// Random models.

bool is_one_of(const std::string& type, std::initializer_list<const char*> types) {
  return std::ranges::any_of(types, [&](const char* other) { return type == other; });
}

std::string layer_or_op(const Graph& graph, const Node* node) {
  if (node->kind == Node::Kind::layer) return graph.layer(node).type();
  return node->kind == Node::Kind::op ? node->target : std::string();
}

bool could_be_fused(const std::string& first, const std::string& second) {
  if (second == "relu") return is_one_of(first, {"Conv2d", "Linear", "add"});
  if (second == "BatchNorm2d") return first == "Conv2d";
  return second == "BatchNorm1d" && is_one_of(first, {"Conv1d", "Linear"});
}

// Whether this node may give its work to the one before it, judged by the graph's values on an input.
bool may_be_fused(const Graph& graph, const Node* given, const Node* second,
                  const std::map<const Node*, Shape>& shapes) {
  int calls = 0;
  const bool is_direct = std::ranges::count(second->inputs, given) > 0;  // else behind what was fused before
  for (const Node* first : graph.nodes()) {
    const bool is_call = first->kind == Node::Kind::layer && first->kind == given->kind;
    if (first != given && !(is_call && first->target == given->target)) continue;
    ++calls;
    std::vector<const Node*> uses;
    for (const Node* node : graph.nodes())
      for (const Node* input : node->inputs)
        if (input == first) uses.push_back(node);
    if (uses.size() != 1 || first == graph.output()) return false;
    if (is_direct && (uses[0]->kind != second->kind || uses[0]->target != second->target)) return false;
    if (second->kind == Node::Kind::layer && graph.is_layer(first, "Linear") && shapes.at(first).ndim() == 3)
      return false;
  }
  if (second->kind == Node::Kind::op) return true;
  return graph.calls_of_layer(second) == calls && !graph.layer(second).training();
}

std::map<const Node*, Shape> shapes_of(const Graph& graph, const Tensor& x) {
  Graph copy = graph.clone();
  copy.eval();
  const std::vector<Tensor> values = copy.run_all(std::vector<Tensor>{x});
  std::map<const Node*, Shape> shapes;
  const std::vector<Node*> nodes = graph.nodes();
  for (size_t i = 0; i < nodes.size(); ++i) shapes[nodes[i]] = values[i].shape();
  return shapes;
}

struct Tally {
  std::map<std::string, int> fused, refused;
};

void expect_fused_exactly_where_possible(const Graph& graph, const Graph& result, const FusionReport& report,
                                         const Tensor& x, Tally& tally) {
  const auto shapes = shapes_of(graph, x);
  std::set<const Node*> removed;
  for (const FusionAttempt& attempt : report) {
    const Node *first = graph.find(attempt.node), *second = graph.find(attempt.with);
    ASSERT_TRUE(first && second);
    const std::string kinds = layer_or_op(graph, first) + " + " + layer_or_op(graph, second);
    EXPECT_EQ(attempt.fused, attempt.reason.empty());
    EXPECT_EQ(result.find(attempt.with) == nullptr, attempt.fused);
    EXPECT_TRUE(!attempt.fused || may_be_fused(graph, first, second, shapes)) << kinds << " " << attempt.with;
    ++(attempt.fused ? tally.fused : tally.refused)[kinds];
    if (!attempt.fused) continue;
    removed.insert(second);
    for (const Node* input : second->inputs)  // a constant that became a bias, if nobody else reads it
      if (input->kind == Node::Kind::tensor && !result.find(input->name)) removed.insert(input);
  }
  EXPECT_EQ(result.nodes().size(), graph.nodes().size() - removed.size());
  const auto result_shapes = shapes_of(result, x);
  for (const Node* node : result.nodes()) {
    const bool pair =
        node->inputs.size() == 1 && could_be_fused(layer_or_op(result, node->inputs[0]), layer_or_op(result, node));
    EXPECT_FALSE(pair && may_be_fused(result, node->inputs[0], node, result_shapes))
        << node->name << " could have been fused";
    const Node* before = graph.find(node->name);
    ASSERT_NE(before, nullptr);
    EXPECT_EQ(node->kind, before->kind);
  }
}

// The graph's output, run node by node, with the bits of the model.
Tensor node_by_node(Graph& graph, const Tensor& x) {
  const std::vector<Node*> nodes = graph.nodes();
  const auto output = std::ranges::find(nodes, graph.output()) - nodes.begin();
  return graph.run_all(std::vector<Tensor>{x})[static_cast<size_t>(output)];
}

// In every way that a graph can be run: node by node, on the executor, in parts. Where a sum cancels out and relu
// leaves next to nothing of it, that is next to nothing in comparison with what was summed.
void expect_same_outputs(Graph& graph, Graph& result, const Tensor& x) {
  const Tensor expected = node_by_node(graph, x).detach();
  float floor = 0;
  for (const Tensor& value : graph.run_all(std::vector<Tensor>{x})) floor = std::max(floor, 0.01f * largest_of(value));
  expect_close(node_by_node(result, x), expected, "fused, node by node", floor);
  const int threads = num_threads();
  const NoGrad guard;
  for (const int count : {1, 3}) {
    set_num_threads(count);
    expect_close(graph(x), expected, str("executor, threads: ", count), floor);
    expect_close(result(x), expected, str("fused, executor, threads: ", count), floor);
  }
  set_num_threads(threads);
}

TEST(Fuse, RandomModelsKeepTheirValuesAndFuseExactlyWherePossible) {
  Tally tally;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    nn::RandomModel model(seed);
    const Graph graph = nn::trace(model, model.example());
    SCOPED_TRACE(str("seed ", seed, "\n", graph.table()));
    const std::string before = graph.table();
    FusionReport report, again;
    const Graph result = fuse_conv_bn_relu(graph, &report);
    EXPECT_EQ(graph.table(), before);
    expect_fused_exactly_where_possible(graph, result, report, model.example(), tally);
    EXPECT_EQ(fuse_conv_bn_relu(result, &again).table(), result.table());
    EXPECT_TRUE(std::ranges::none_of(again, &FusionAttempt::fused));

    Graph original = graph.clone(), fused = result.clone();
    original.eval();
    fused.eval();
    model.eval();
    Generator rng(seed);
    for (const int64_t batch : {model.example().shape(0), int64_t{1}, int64_t{7}}) {
      const Tensor x = model.input(batch, rng);
      EXPECT_EQ(node_by_node(original, x).data().to_vector<float>(), model(x).data().to_vector<float>());
      expect_same_outputs(original, fused, x);
    }
    if (HasFailure()) break;
  }
  // Every kind of fusion took place, and was refused, often enough to mean something.
  for (const char* kinds : {"Conv2d + BatchNorm2d", "Conv2d + relu", "Linear + BatchNorm1d", "Linear + relu",
                            "Conv1d + BatchNorm1d", "add + relu"}) {
    EXPECT_GE(tally.fused[kinds], 5) << kinds;
    EXPECT_GE(tally.refused[kinds], 2) << kinds;
  }
}

}  // namespace
}  // namespace thimble::quant
