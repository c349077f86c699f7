// Graphs inside of layers: which of them runs, and what neither the values nor the other one may spoil.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/layers/conditional.h>
#include <thimble/nn/layers/conv.h>

namespace thimble::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One op of one input.
Graph branch_of(const std::string& op, const Attributes& attributes = {}) {
  Graph graph;
  graph.set_output(graph.add_op("y", op, attributes, {graph.add_input("x")}));
  return graph;
}

// Inputs c and x (and s); both graphs read what the numbers say.
Graph graph_with(Graph then_graph, Graph else_graph, const Conditional::Inputs& inputs = {{1}, {1}}) {
  Graph graph;
  std::vector<Node*> given{graph.add_input("c"), graph.add_input("x")};
  if (inputs.of_then.size() > 1) given.push_back(graph.add_input("s"));
  auto layer = std::make_shared<Conditional>(std::move(then_graph), std::move(else_graph), inputs);
  graph.set_output(graph.add_layer("if", layer, given));
  graph.eval();
  return graph;
}

Tensor condition(bool value) { return Tensor(NDArray::full({}, value, DType::bool_)); }
Tensor list_of(const std::vector<int64_t>& values) { return Tensor(NDArray::from_vector(values)); }

TEST(Conditional, AShapeThatDependsOnValuesIsFoundWhenItRuns) {
  const Attributes nothing{{"axis", int64_t{0}}, {"start", int64_t{0}}, {"stop", int64_t{0}}, {"step", int64_t{1}}};
  Graph graph = graph_with(branch_of("nonzero"), branch_of("slice", nothing));  // of zeros both give [0, 2]
  const Tensor x(NDArray::from_vector<int64_t>({0, 7, 5, 5}, {2, 2}));
  for (int round = 0; round < 2; ++round) {
    const Tensor rows = graph.call(std::vector<Tensor>{condition(true), x});
    EXPECT_THAT(rows.data().to_vector<int64_t>(), ElementsAre(0, 1, 1, 0, 1, 1));
    EXPECT_EQ(graph.call(std::vector<Tensor>{condition(false), x}).shape(), Shape({0, 2}));
  }
}

// The sizes of an input are those of another's values.
TEST(Conditional, SizesMayBeAnInputsValues) {
  const auto reshaped = [] {
    Graph graph;
    Node *x = graph.add_input("x"), *s = graph.add_input("s");
    graph.set_output(graph.add_op("y", "reshape", {{kAttributeInputs, std::string("shape")}}, {x, s}));
    return graph;
  };
  Graph graph = graph_with(reshaped(), reshaped(), {{1, 2}, {1, 2}});
  const Tensor x(NDArray::arange(6));
  const auto shape_for = [&](const std::vector<int64_t>& sizes) {
    return graph.call(std::vector<Tensor>{condition(true), x, list_of(sizes)}).shape();
  };
  EXPECT_EQ(shape_for({2, 3}), Shape({2, 3}));
  EXPECT_EQ(shape_for({3, 2}), Shape({3, 2}));
}

TEST(Conditional, WhatTheOtherGraphSaysAgainstTheInputsMattersToNobody) {
  const Attributes of_three{{"shape", std::vector<int64_t>{3}}};
  Graph graph = graph_with(branch_of("reshape", of_three), branch_of("relu"));
  const Tensor three(NDArray::ones({1, 3})), four(NDArray::ones({4}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(graph.call(std::vector<Tensor>{condition(false), four}).shape(), Shape({4}));
    EXPECT_THROW(graph.call(std::vector<Tensor>{condition(true), four}), ShapeError);
    EXPECT_EQ(graph.call(std::vector<Tensor>{condition(true), three}).shape(), Shape({3}));
  }
}

// Where both give one shape it is a step: that of an unknown condition, and of a known one.
TEST(Conditional, IsAStepWhereTheShapeIsKnown) {
  const Conditional layer(branch_of("relu"), branch_of("neg"), {{1}, {1}});
  const ValueInfo x{.shape = {4}}, unknown{.shape = {}, .dtype = DType::bool_};
  const auto step = layer.inference_step(std::vector{unknown, x});
  ASSERT_NE(step, nullptr);
  EXPECT_EQ(step->output().shape, Shape({4}));
  const Conditional other(branch_of("unsqueeze", {{"axis", int64_t{0}}}), branch_of("neg"), {{1}, {1}});
  EXPECT_EQ(other.inference_step(std::vector{unknown, x}), nullptr);
  ValueInfo known = unknown;
  known.value = NDArray::ones({}, DType::bool_);
  EXPECT_EQ(other.inference_step(std::vector{known, x})->output().shape, Shape({1, 4}));
}

TEST(Conditional, WithoutGraphsSaysSo) {
  const std::vector<int64_t> none;
  const auto empty = make_layer("Conditional", {{"then_inputs", none}, {"else_inputs", none}});
  EXPECT_FALSE(empty->has_side_effects());
  EXPECT_TRUE(dynamic_cast<const OwnsGraphs&>(*empty).graphs().empty());
  EXPECT_THROW(copy_layer(*empty), ValueError);
  EXPECT_THROW(empty->call(std::vector<Tensor>{condition(true)}), ValueError);
  EXPECT_THROW(empty->inference_step(std::vector{ValueInfo{}}), ValueError);

  Graph graph;
  graph.set_output(graph.add_layer("if", empty, {graph.add_input("c")}));
  EXPECT_THROW(graph.clone(), ValueError);
  EXPECT_THROW(graph.call(std::vector<Tensor>{condition(true)}), ValueError);
  EXPECT_THAT(graph.table(), HasSubstr("Conditional"));
}

TEST(Conditional, InputsThatAreNotThereAreRefused) {
  Conditional layer(branch_of("relu"), branch_of("neg"), {{std::numeric_limits<int64_t>::max()}, {1}});
  EXPECT_THROW(layer.call(std::vector<Tensor>{condition(true), condition(true)}), ValueError);
}

std::shared_ptr<Conditional> conditional(Graph then_graph, Graph else_graph) {
  return std::make_shared<Conditional>(std::move(then_graph), std::move(else_graph), Conditional::Inputs{{1}, {1}});
}

// Steps hand flattened images on as they lie, channels last.
TEST(Conditional, ReadsFlattenedImagesInTheUsualOrder) {
  Graph graph;
  Node *condition = graph.add_input("condition"), *x = graph.add_input("x");
  Node* image = graph.add_layer("conv", std::make_shared<Conv2d>(2, 3, 1), {x});
  Node* flat = graph.add_op("flat", "flatten", {{"start_dim", int64_t{1}}, {"end_dim", int64_t{-1}}}, {image});
  const Attributes along{{"axis", int64_t{1}}};
  graph.set_output(graph.add_layer("if", conditional(branch_of("cumsum", along), branch_of("neg")), {condition, flat}));
  graph.eval();
  const NoGrad guard;
  for (const bool holds : {true, false}) {
    const std::vector<Tensor> inputs{NDArray::full({}, holds, DType::bool_), random({2, 2, 4, 5})};
    expect_close(Executor(graph).run(graph, inputs)[0].data(), graph.run_all(inputs).back().data(), 1e-5);
  }
}

TEST(Conditional, MayGiveWhatHasTheShapeOfItsValues) {
  Graph graph;
  Node *condition = graph.add_input("condition"), *x = graph.add_input("x");
  graph.set_output(graph.add_layer("if", conditional(branch_of("nonzero"), branch_of("nonzero")), {condition, x}));
  graph.eval();
  const NoGrad guard;
  const Tensor numbers = NDArray::from_vector<float>({0, 3, 0, 5});
  EXPECT_EQ(graph(Tensor(NDArray::ones({})), numbers).data().to_vector<int64_t>(), (std::vector<int64_t>{1, 3}));
}

}  // namespace
}  // namespace thimble::nn
