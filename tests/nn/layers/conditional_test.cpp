#include <gtest/gtest.h>

#include "tests/core/views.h"
#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/layers/conditional.h>
#include <thimble/nn/layers/conv.h>

namespace thimble::nn {
namespace {

// op(x) of the condition's layer, which is given x as input 1.
Graph branch_of(const char* op, const Attributes& attributes = {}) {
  Graph graph;
  graph.set_output(graph.add_op("y", op, attributes, {graph.add_input("x")}));
  return graph;
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
