#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

using testing::HasSubstr;

Graph network() {
  manual_seed(1);
  Sequential model(ConvBNReLU(2, 4, 3, {.padding = 1}), Dropout(0.5), Flatten(), Linear(4 * 5 * 5, 3));
  return trace(model.eval(), random({1, 2, 5, 5}));
}

bool ran_on_executor(const Tensor& y) { return y.op() && y.op()->name() == "graph"; }

std::vector<std::vector<float>> gradients(const Graph& graph) {
  std::vector<std::vector<float>> all;
  for (const Tensor& p : graph.parameters())
    all.push_back(p.grad().defined() ? p.grad().data().to_vector<float>() : std::vector<float>());
  return all;
}

void expect_near(const std::vector<std::vector<float>>& got, const std::vector<std::vector<float>>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t p = 0; p < got.size(); ++p) {
    ASSERT_EQ(got[p].size(), expected[p].size());
    for (size_t i = 0; i < got[p].size(); ++i)
      EXPECT_NEAR(got[p][i], expected[p][i], 1e-4 * (1 + std::abs(expected[p][i]))) << p << ' ' << i;
  }
}

// Of loss(output), recorded node by node.
template <typename Loss>
std::vector<std::vector<float>> recorded_gradients(Loss&& loss, const Tensor& x) {
  Graph graph = network();
  loss(graph.run_all(std::vector<Tensor>{x}).back()).backward();
  return gradients(graph);
}

Tensor squares(const Tensor& y) { return sum(y * y); }

TEST(RecordedEvaluation, RunsOnTheExecutorAndHasTheGradientsOfItsNodes) {
  Graph graph = network();
  const Tensor x = random({6, 2, 5, 5}), y = graph(x);
  EXPECT_TRUE(ran_on_executor(y));
  EXPECT_TRUE(y.requires_grad());
  squares(y).backward();
  expect_near(gradients(graph), recorded_gradients(squares, x));
}

TEST(RecordedEvaluation, WhoCallsBackwardGetsRecordedRunsFromThenOn) {
  Graph graph = network();
  const Tensor x = random({6, 2, 5, 5});
  squares(graph(x)).backward();
  const Tensor y = graph(x);
  EXPECT_FALSE(ran_on_executor(y));
  for (const Tensor& p : graph.parameters()) p.set_grad({});
  squares(y).backward();
  expect_near(gradients(graph), recorded_gradients(squares, x));
}

TEST(RecordedEvaluation, OutlivesTheGraph) {
  const Tensor x = random({2, 2, 5, 5});
  std::vector<Tensor> parameters;
  Tensor y;
  {
    Graph graph = network();
    parameters = graph.parameters();
    y = graph(x);
    graph.erase(graph.add_op("unused", "relu", {}, {graph.output()}));
  }
  ASSERT_TRUE(ran_on_executor(y));
  squares(y).backward();
  std::vector<std::vector<float>> got;
  for (const Tensor& p : parameters) got.push_back(p.grad().data().to_vector<float>());
  expect_near(got, recorded_gradients(squares, x));
}

TEST(RecordedEvaluation, IsInEvaluationModeInBackwardToo) {
  Graph graph = network();
  const Tensor x = random({2, 2, 5, 5}), loss = squares(graph(x));
  graph.train();
  loss.backward();
  expect_near(gradients(graph), recorded_gradients(squares, x));
  for (const auto& [path, layer] : graph.children()) EXPECT_TRUE(layer->training());
}

TEST(RecordedEvaluation, ChangesInBetweenAreErrors) {
  const auto message_after = [](auto&& change) -> std::string {
    Graph graph = network();
    const Tensor x = random({2, 2, 5, 5}), loss = squares(graph(x));
    change(graph, x);
    try {
      loss.backward();
    } catch (const ValueError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message_after([](Graph& g, const Tensor&) { g.parameters()[0].mutable_data().fill(1); }),
              HasSubstr("which was changed after the op was applied"));
  EXPECT_THAT(message_after([](Graph&, const Tensor& x) { x.mutable_data().fill(1); }), HasSubstr("was changed"));
  EXPECT_THAT(message_after([](Graph& g, const Tensor&) { g.named_buffers()[0].second.mutable_data().fill(1); }),
              HasSubstr("was changed"));
  EXPECT_EQ(message_after([](Graph&, const Tensor&) {}), "");
}

TEST(RecordedEvaluation, GradientsCanBeDifferentiated) {
  const auto second = [](bool on_executor) {
    manual_seed(2);
    Sequential model(Linear(3, 4), Tanh(), Linear(4, 2));
    Graph graph = trace(model.eval(), random({1, 3}));
    const Tensor x = random({5, 3});
    const Tensor y = on_executor ? graph(x) : graph.run_all(std::vector<Tensor>{x}).back();
    EXPECT_EQ(ran_on_executor(y), on_executor);
    const Tensor first = grad(sum(y * y), {graph.parameters()[0]}, {}, {.create_graph = true})[0];
    sum(first * first).backward();
    return gradients(graph);
  };
  expect_near(second(true), second(false));
}

TEST(RecordedEvaluation, GradientsOfInputsAreRecordedAtOnce) {
  Graph graph = network();
  const Tensor x(random({2, 2, 5, 5}).data(), true), y = graph(x);
  EXPECT_FALSE(ran_on_executor(y));
  squares(y).backward();
  EXPECT_TRUE(x.grad().defined());
}

TEST(RecordedEvaluation, WhatIsFrozenNeedsNoBackward) {
  Graph graph = network();
  for (const Tensor& p : graph.parameters()) p.set_requires_grad(false);
  EXPECT_FALSE(graph(random({2, 2, 5, 5})).requires_grad());
  graph.parameters().back().set_requires_grad(true);
  squares(graph(random({2, 2, 5, 5}))).backward();
  EXPECT_TRUE(graph.parameters().back().grad().defined());
  EXPECT_FALSE(graph.parameters().front().grad().defined());
}

TEST(RecordedEvaluation, ParametersThatTheOutputDoesNotNeedGetNoGradient) {
  Graph graph = network();
  Node* unused = graph.add_layer("unused", std::make_shared<Linear>(3, 3), {graph.output()});
  graph.eval();
  squares(graph(random({2, 2, 5, 5}))).backward();
  for (const Tensor& p : graph.layer(unused).parameters()) EXPECT_FALSE(p.grad().defined());
}

TEST(RecordedEvaluation, TrainingGoesOnAsBefore) {
  Graph graph = network();
  graph.train();
  EXPECT_FALSE(ran_on_executor(graph(random({2, 2, 5, 5}))));
}

}  // namespace
}  // namespace thimble::nn
