#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/nn/random_input.h"
#include <thimble/core/autocast.h>
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/graph/passes.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A trunk with two heads, of which one is a container with outputs of its own.
struct Heads : Module {
  Submodule<Linear> boxes{this, "boxes", 4, 6}, scores{this, "scores", 4, 2};
  std::vector<Tensor> forward_outputs(std::span<const Tensor> inputs) override {
    return {boxes(inputs[0]), sigmoid(scores(inputs[0]))};
  }
};

struct Detector : Module {
  Submodule<Linear> trunk{this, "trunk", 3, 4};
  Submodule<Heads> heads{this, "heads"};
  std::vector<Tensor> forward_outputs(std::span<const Tensor> inputs) override {
    const Tensor h = relu(trunk(inputs[0]));
    std::vector<Tensor> outputs = heads->call_outputs(std::vector{h});
    outputs.push_back(h);
    outputs.push_back(outputs[0]);
    return outputs;
  }
};

struct GraphOutputs : testing::Test {
  GraphOutputs() {
    manual_seed(1);
    graph = trace(model.eval(), x);
  }

  static std::vector<std::string> names(const Graph& of) {
    std::vector<std::string> all;
    for (const GraphOutput& output : of.outputs()) all.push_back(output.name);
    return all;
  }

  static std::vector<std::vector<float>> values(const std::vector<Tensor>& tensors) {
    std::vector<std::vector<float>> all;
    for (const Tensor& tensor : tensors) all.push_back(tensor.data().to_vector<float>());
    return all;
  }

  Detector model;
  Tensor x = random({5, 3});
  Graph graph;
};

TEST_F(GraphOutputs, AreTracedInOrderUnderNamesOfTheirOwn) {
  EXPECT_THAT(names(graph), ElementsAre("heads.boxes", "heads.sigmoid", "relu", "heads.boxes_1"));
  EXPECT_EQ(graph.output(), graph.find("heads.boxes"));
  EXPECT_TRUE(graph.is_output(graph.find("relu")));
  EXPECT_FALSE(graph.is_output(graph.find("trunk")));
  EXPECT_THAT(graph.table(), HasSubstr("outputs: heads.boxes, heads.sigmoid, relu, heads.boxes_1 = heads.boxes"));
}

TEST_F(GraphOutputs, AreTheModelsOnTheExecutorAndNodeByNode) {
  const int threads_before = num_threads();
  for (const int threads : {1, 3})
    for (const int64_t batch : {1, 7, 900}) {
      set_num_threads(threads);
      const Tensor rows = random({batch, 3});
      const auto expected = values(no_grad([&] { return model.call_outputs(std::vector{rows}); }));
      const auto on_executor = values(no_grad([&] { return graph.call_outputs(std::vector{rows}); }));
      ASSERT_EQ(on_executor.size(), 4u);
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_THAT(on_executor[i], testing::Pointwise(testing::FloatNear(1e-5f), expected[i])) << "output " << i;
      graph.train();
      EXPECT_EQ(values(graph.call_outputs(std::vector{rows})), expected);
      graph.eval();
    }
  set_num_threads(threads_before);
}

TEST_F(GraphOutputs, GoByTheirNames) {
  const NamedTensors answers = graph.run({{"input", x}});
  ASSERT_EQ(answers.size(), 4u);
  EXPECT_EQ(answers[1].first, "heads.sigmoid");
  EXPECT_EQ(answers[1].second.shape(), (Shape{5, 2}));
  EXPECT_EQ(graph(x).data().to_vector<float>(), answers[0].second.data().to_vector<float>())
      << "a call gives the first";
  EXPECT_THROW(graph.run({}), ValueError);
  EXPECT_THROW(graph.run({{"image", x}}), ValueError);
  EXPECT_THROW(graph.run({{"input", x}, {"relu", x}}), ValueError);
  EXPECT_THROW(graph.run({{"input", x}, {"input", x}}), ValueError);
}

TEST_F(GraphOutputs, EachPassesGradientsOn) {
  const auto gradient = [&](Module& of, size_t output) {
    for (const Tensor& parameter : of.parameters()) parameter.set_grad({});
    sum(of.call_outputs(std::vector{x})[output]).backward();
    return of.parameters()[0].grad().data().to_vector<float>();
  };
  for (size_t output = 0; output < 4; ++output) {
    Graph fresh = graph.clone();  // whose first answer comes from the executor
    EXPECT_THAT(gradient(fresh, output), testing::Pointwise(testing::FloatNear(1e-4f), gradient(model, output)));
  }
}

TEST_F(GraphOutputs, KeepTheirNamesWhileNodesChange) {
  Node* old = graph.find("heads.sigmoid");
  Node* other = graph.add_op("tanh", "tanh", {}, {graph.find("heads.scores")});
  graph.replace_uses(old, other);
  EXPECT_EQ(graph.outputs()[1].node, other);
  EXPECT_EQ(graph.outputs()[1].name, "heads.sigmoid");
  EXPECT_THROW(graph.erase(other), ValueError);
  graph.erase(old);
  graph.replace_output(graph.find("relu"), other);
  EXPECT_THAT(names(graph), ElementsAre("heads.boxes", "heads.sigmoid", "relu", "heads.boxes_1"));
  graph.rename(graph.find("heads.boxes"), "boxes");
  EXPECT_THAT(names(graph), ElementsAre("heads.boxes", "heads.sigmoid", "relu", "heads.boxes_1"));
  graph.verify();
  EXPECT_EQ(names(graph.clone()), names(graph));
}

TEST_F(GraphOutputs, KeepWhatTheyDependOnAlive) {
  graph.add_op("dead", "neg", {}, {graph.find("relu")});
  EXPECT_EQ(graph.eliminate_dead_nodes(), 1);
  graph.set_outputs({{"scores", graph.find("heads.sigmoid")}});
  EXPECT_EQ(graph.eliminate_dead_nodes(), 1);
  EXPECT_EQ(graph.find("heads.boxes"), nullptr);
  EXPECT_EQ(graph.run({{"input", x}})[0].first, "scores");
}

TEST_F(GraphOutputs, InAScopeOfMixedPrecisionGraphsComputeAsModelsDo) {
  const NoGrad guard;
  const auto in_full = values(graph.call_outputs(std::vector{x}));
  {
    const Autocast scope(DType::bfloat16);
    EXPECT_EQ(graph(x).dtype(), DType::bfloat16);
    EXPECT_EQ(graph(x).data().to_vector<float>(), model.call_outputs(std::vector{x})[0].data().to_vector<float>());
  }
  EXPECT_EQ(values(graph.call_outputs(std::vector{x})), in_full);
}

TEST_F(GraphOutputs, MustBeThereAndToldApart) {
  Node* relu = graph.find("relu");
  Graph other = graph.clone();
  EXPECT_THROW(graph.set_outputs({}), ValueError);
  EXPECT_THROW(graph.set_outputs({{"", relu}}), ValueError);
  EXPECT_THROW(graph.set_outputs({{"a", relu}, {"a", graph.find("trunk")}}), ValueError);
  EXPECT_THROW(graph.set_outputs({{"a", other.find("relu")}}), ValueError);
  EXPECT_THROW(graph.set_outputs({{"a", nullptr}}), ValueError);
  EXPECT_THAT(names(graph), ElementsAre("heads.boxes", "heads.sigmoid", "relu", "heads.boxes_1"));
}

}  // namespace
}  // namespace thimble::nn
