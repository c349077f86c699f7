#include <gtest/gtest.h>

#include "tests/nn/random_model.h"
#include <thimble/nn/graph/passes.h>
#include <thimble/nn/graph/trace.h>

namespace thimble::nn {
namespace {

int count(const Graph& graph, Node::Kind kind) {
  int found = 0;
  for (const Node* node : graph.nodes()) found += node->kind == kind;
  return found;
}

std::vector<float> run(const Graph& graph, const Tensor& x) {
  Graph copy = graph.clone();
  return copy(x).data().to_vector<float>();
}

const Shape kInput{2, 4};

Tensor example() {
  Generator rng(3);
  return randn(kInput, rng);
}

// x * tanh(p) + fc(constant), and a value that nobody needs.
struct FoldedNet : Module {
  Submodule<Linear> fc{this, "fc", 4, 4};
  Submodule<Linear> unused{this, "unused", 4, 4};
  Submodule<Dropout> dropout{this, "dropout", 0.5};
  Tensor p = register_parameter("p", NDArray::full({4}, 0.5));
  Tensor constant = NDArray::full({1, 4}, 2);
  Tensor forward(const Tensor& x) override {
    unused(x);
    const Tensor scale = tanh(p * 2.0), shift = fc(relu(dropout(constant)));
    return x * scale + shift;
  }
};

TEST(EliminateDeadNodes, RemovesWhatTheOutputDoesNotNeedAndLeavesItsInputAlone) {
  FoldedNet net;
  const Graph graph = trace(net.eval(), example());
  const std::string before = graph.table();
  const Graph result = eliminate_dead_nodes(graph);
  EXPECT_EQ(graph.table(), before);
  EXPECT_NE(graph.find("unused"), nullptr);
  EXPECT_EQ(result.find("unused"), nullptr);
  EXPECT_EQ(result.nodes().size() + 1, graph.nodes().size());
  EXPECT_EQ(result.children().size() + 1, graph.children().size());
  EXPECT_EQ(run(result, example()), run(graph, example()));
}

TEST(EliminateDeadNodes, KeepsInputsThatNobodyUses) {
  Graph graph;
  Node* first = graph.add_input("first");
  graph.add_input("second");
  graph.set_output(graph.add_op("relu", "relu", {}, {first}));
  graph.add_op("dead", "tanh", {}, {graph.add_op("dead", "exp", {}, {first})});
  EXPECT_EQ(eliminate_dead_nodes(graph).nodes().size(), 3u);
}

TEST(FoldConstants, ComputesWhatDoesNotDependOnTheInputOnce) {
  FoldedNet net;
  const Graph graph = trace(net.eval(), example());
  const std::string before = graph.table();
  const Graph result = fold_constants(graph);
  EXPECT_EQ(graph.table(), before);
  // The input, the two constants, mul, add.
  EXPECT_EQ(result.nodes().size(), 5u) << result.table();
  EXPECT_EQ(count(result, Node::Kind::tensor), 2);
  EXPECT_EQ(result.find("fc")->kind, Node::Kind::tensor) << "a constant keeps its node's name";
  EXPECT_TRUE(result.children().empty());
  EXPECT_TRUE(result.parameters().empty());
  EXPECT_EQ(run(result, example()), run(graph, example()));
  EXPECT_EQ(fold_constants(result).table(), result.table());
}

TEST(FoldConstants, KeepsWhatIsStillTrained) {
  FoldedNet net;
  Graph graph = trace(net.eval(), example());
  graph.set_own_mode(true);
  // relu(dropout(constant)) is constant; fc's and p's are not.
  const Graph result = fold_constants(graph);
  EXPECT_EQ(result.parameters().size(), 3u);
  EXPECT_NE(result.find("tanh"), nullptr);
  EXPECT_EQ(result.find("relu")->kind, Node::Kind::tensor);
  EXPECT_EQ(run(result, example()), run(graph, example()));

  for (Tensor& p : graph.parameters()) p.set_requires_grad(false);
  EXPECT_EQ(count(fold_constants(graph), Node::Kind::tensor), 2) << "frozen parameters are constants";
}

TEST(FoldConstants, KeepsLayersInTrainingModeAndRandomOps) {
  FoldedNet net;
  Graph graph = trace(net.eval(), example());
  graph.layer(graph.find("dropout")).train();
  const Graph result = fold_constants(graph);
  EXPECT_NE(result.find("dropout"), nullptr);
  EXPECT_EQ(result.find("fc")->kind, Node::Kind::layer);
  EXPECT_EQ(result.find("tanh")->kind, Node::Kind::tensor);

  Graph random;
  Node* input = random.add_input("input");
  Node* dropped = random.add_op("dropout", "dropout", {{"p", 0.5}}, {random.add_tensor("ones", NDArray::ones(kInput))});
  random.set_output(random.add_op("add", "add", {}, {input, dropped}));
  EXPECT_EQ(fold_constants(random).table(), random.table());
}

struct Counting : Module {
  Tensor forward(const Tensor& x) override { return x; }
  bool has_side_effects() const override { return true; }
  std::string type() const override { return "CountingForPassesTest"; }
};
const LayerRegistration counting{"CountingForPassesTest",
                                 [](const Attributes&) { return std::make_shared<Counting>(); }};

TEST(FoldConstants, KeepsLayersWithSideEffects) {
  Graph graph;
  Node* input = graph.add_input("input");
  Node* counted = graph.add_layer("counted", std::make_shared<Counting>(), {graph.add_tensor("t", NDArray::ones({4}))});
  graph.set_output(graph.add_op("add", "add", {}, {input, counted}));
  graph.eval();
  EXPECT_EQ(fold_constants(graph).table(), graph.table());
}

TEST(FoldConstants, FindsNamesForTensorsBesideSharedLayers) {
  // The layer stays for the second call, so that the tensor that replaces the first one needs another target.
  struct Shared : Module {
    Submodule<Linear> fc{this, "fc", 4, 4};
    Tensor constant = NDArray::full({1, 4}, 2);
    Tensor forward(const Tensor& x) override {
      const Tensor h = fc(constant);
      return fc(x) + h;
    }
  } net;
  const Graph graph = trace(net.eval(), example()), result = fold_constants(graph);
  ASSERT_NE(result.find("fc"), nullptr);
  EXPECT_EQ(result.find("fc")->kind, Node::Kind::tensor);
  EXPECT_EQ(result.find("fc_1")->kind, Node::Kind::layer);
  EXPECT_EQ(run(result, example()), run(graph, example()));
}

TEST(FoldConstants, AnOutputMayBeConstant) {
  Graph graph;
  graph.add_input("input");
  graph.set_output(graph.add_op("relu", "relu", {}, {graph.add_tensor("t", NDArray::full({2}, -1))}));
  const Graph result = fold_constants(graph);
  EXPECT_EQ(result.output()->kind, Node::Kind::tensor);
  EXPECT_EQ(run(result, example()), std::vector<float>(2, 0.0f));
  Graph evaluated = result.clone();
  evaluated.eval();
  const NoGrad guard;
  EXPECT_EQ(evaluated(example()).data().to_vector<float>(), std::vector<float>(2, 0.0f));
}

TEST(Passes, RandomModelsKeepTheirValues) {
  int folded = 0, eliminated = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomModel model(1000 + seed);
    model.eval();
    Graph graph = trace(model, model.example());
    const std::string before = graph.table();
    SCOPED_TRACE(str("seed ", seed, "\n", before));
    Graph alive = eliminate_dead_nodes(graph), constant = fold_constants(graph);
    EXPECT_EQ(graph.table(), before);
    EXPECT_EQ(eliminate_dead_nodes(alive).table(), alive.table());
    EXPECT_EQ(fold_constants(constant).table(), constant.table());
    eliminated += alive.nodes().size() < graph.nodes().size();
    folded += constant.nodes().size() < alive.nodes().size();
    Generator rng(seed);
    for (const bool recording : {true, false}) {
      const GradMode mode(recording);
      const Tensor x = model.input(3, rng);
      const auto expected = graph(x).data().to_vector<float>();
      EXPECT_EQ(alive(x).data().to_vector<float>(), expected);
      EXPECT_EQ(constant(x).data().to_vector<float>(), expected);
    }
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GE(folded, 15);
  EXPECT_GE(eliminated, 20);
}

}  // namespace
}  // namespace thimble::nn
