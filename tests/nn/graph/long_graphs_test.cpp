// Graphs of a hundred thousand nodes: what searched all of them for each of them, or went as deep as they are many,
// would not come to an end.
#include <gtest/gtest.h>

#include "tests/sanitized.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/graph/passes.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

constexpr int kOps = kSanitized ? 20000 : 100000;

// Ops of all kinds: elementwise, views, and with tensors of their own.
struct Chain : Module {
  Tensor forward(const Tensor& x) override {
    Tensor h = x;
    for (int i = 0; i < kOps; i += 4) {
      h = reshape(relu(h) * 1.0, {-1, 2});
      h = h + Tensor(NDArray::from_vector<float>({static_cast<float>(i), 1}));
    }
    return h;
  }
};

TEST(LongGraphs, AreTracedRewrittenAndRun) {
  Chain chain;
  const Tensor x = NDArray::from_vector<float>({1, -2, 3, 4}, {2, 2});
  const NoGrad guard;
  const std::vector<float> expected = chain(x).data().to_vector<float>();
  Graph graph = trace(chain.eval(), x);
  EXPECT_EQ(graph.nodes().size(), 1u + kOps + kOps / 2);
  EXPECT_EQ(graph(x).data().to_vector<float>(), expected);
  const std::vector<Node*> nodes = graph.nodes();
  for (Node* node : nodes) {  // behind a tensor a constant, behind an op a dead node
    Node* added = graph.add_op("added", "relu", {}, {node}, node);
    if (node->kind == Node::Kind::tensor) graph.replace_uses(node, added);
  }
  const Graph alive = eliminate_dead_nodes(graph);
  EXPECT_EQ(alive.nodes().size(), nodes.size() + kOps / 2) << "the constants";
  Graph folded = fold_constants(alive);
  EXPECT_EQ(folded.nodes().size(), nodes.size());
  EXPECT_EQ(folded.run_all(std::vector<Tensor>{x}).back().data().to_vector<float>(), expected);
}

TEST(LongGraphs, AreTrained) {
  Chain chain;
  const Tensor x(NDArray::from_vector<float>({1, 2}, {1, 2}), true);
  sum(chain(x)).backward();
  EXPECT_EQ(x.grad().data().to_vector<float>(), (std::vector<float>{1, 1}));
}

TEST(LongGraphs, AreEditedNodeByNode) {
  Graph graph;
  Node* const input = graph.add_input("x");
  std::vector<Node*> nodes{input};
  for (int i = 0; i < kOps; ++i) nodes.push_back(graph.add_op("relu", "relu", {}, {nodes.back()}));
  graph.set_output(nodes.back());
  for (size_t i = 0; i + 1 < nodes.size(); ++i) {
    ASSERT_EQ(graph.users(nodes[i]), std::vector<Node*>{nodes[i + 1]});
    ASSERT_EQ(graph.num_users(nodes[i]), 1u);
  }
  for (size_t i = 1; i < nodes.size(); i += 2) {  // a node behind each second one
    Node* added = graph.add_op("", "tanh", {}, {nodes[i]}, nodes[i]);
    graph.replace_uses(nodes[i], added);
    ASSERT_EQ(graph.users(nodes[i]), std::vector<Node*>{added});
  }
  graph.verify();
  for (size_t i = 2; i < nodes.size(); i += 2) {
    graph.replace_uses(nodes[i], nodes[i]->inputs[0]);
    graph.erase(nodes[i]);
  }
  graph.verify();
  EXPECT_EQ(graph.nodes().size(), 1u + kOps);
  graph.set_output(input);
  EXPECT_EQ(graph.eliminate_dead_nodes(), kOps);
}

TEST(LongGraphs, NodesGoBetweenOthersManyTimesAtOnePlace) {
  Graph graph;
  Node* const input = graph.add_input("x");
  graph.set_output(graph.add_op("last", "relu", {}, {input}));
  std::vector<Node*> users{graph.output()};
  for (int i = 0; i < 1000; ++i) users.insert(users.begin(), graph.add_op("op", "relu", {}, {input}, input));
  EXPECT_EQ(graph.users(input), users);
  graph.verify();
}

TEST(LongGraphs, OneValueHasManyUsers) {
  Graph graph;
  Node* const input = graph.add_input("x");
  std::vector<Node*> users;
  for (int i = 0; i < kOps; ++i) users.push_back(graph.add_op("square", "mul", {}, {input, input}));
  EXPECT_EQ(graph.users(input), users);
  for (size_t i = 1; i < users.size(); ++i) graph.set_input(users[i], i % 2, users[0]);
  EXPECT_EQ(graph.num_users(users[0]), users.size() - 1);
  EXPECT_EQ(graph.num_users(input), users.size());
  for (size_t i = 1; i < users.size(); ++i) graph.set_input(users[i], 1 - i % 2, users[0]);
  EXPECT_EQ(graph.users(input), std::vector<Node*>{users[0]});
  for (size_t i = 1; i < users.size(); ++i) graph.erase(users[i]);
  EXPECT_EQ(graph.num_users(users[0]), 0u);
}

TEST(LongGraphs, LayersAreReplacedAndErased) {
  constexpr int kLayers = 20000;
  const auto layer = [] { return std::make_shared<Linear>(Tensor(NDArray::ones({1, 1})), Tensor()); };
  Graph graph;
  Node* last = graph.add_input("x");
  for (int i = 0; i < kLayers; ++i) last = graph.add_layer("fc", layer(), {last});
  graph.set_output(last);
  const std::vector<Node*> nodes = graph.nodes();
  for (size_t i = 1; i < nodes.size(); ++i) {
    ASSERT_EQ(graph.calls_of_layer(nodes[i]), 1);
    graph.replace_layer(nodes[i], layer());
  }
  for (size_t i = 1; i + 1 < nodes.size(); ++i) {
    graph.replace_uses(nodes[i], nodes[0]);
    graph.erase(nodes[i]);
  }
  EXPECT_EQ(graph.children().size(), 1u);
  graph.verify();
}

}  // namespace
}  // namespace thimble::nn
