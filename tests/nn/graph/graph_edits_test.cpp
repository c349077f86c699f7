// What a graph keeps to spare searches is what a search finds, whatever the edits.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/random.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

using Nodes = std::vector<Node*>;

std::shared_ptr<Module> layer() { return std::make_shared<Linear>(Tensor(NDArray::ones({1, 1})), Tensor()); }

void expect_sound(const Graph& graph) {
  ASSERT_NO_THROW(graph.verify());
  const Nodes nodes = graph.nodes();
  for (const Node* node : nodes) {
    ASSERT_EQ(graph.find(node->name), node);
    Nodes users;
    int calls = 0;
    for (Node* other : nodes) {
      if (std::ranges::count(other->inputs, node) > 0) users.push_back(other);
      calls += other->kind == Node::Kind::layer && other->target == node->target;
    }
    ASSERT_EQ(graph.users(node), users) << node->name;
    ASSERT_EQ(graph.num_users(node), users.size()) << node->name;
    if (node->kind == Node::Kind::layer) {
      ASSERT_EQ(graph.calls_of_layer(node), calls) << node->name;
      ASSERT_EQ(graph.layer(node).name(), node->target);
    }
  }
  for (const auto& [path, child] : graph.children())
    ASSERT_TRUE(std::ranges::any_of(nodes, [&, &target = path](const Node* node) { return node->target == target; }))
        << path;
}

// Makes random edits that keep nodes behind their inputs.
class Editor {
 public:
  explicit Editor(uint64_t seed) : rng_(seed) {
    graph.add_input("x");
    graph.set_output(graph.add_op("first", "relu", {}, {graph.nodes()[0]}));
  }

  void edit() {
    const Nodes nodes = graph.nodes();
    const size_t at = rng_.below(nodes.size()), before = rng_.below(at + 1);
    Node *node = nodes[at], *earlier = nodes[before];
    const std::string name = "n" + std::to_string(rng_.below(5));
    const bool computes = node->kind == Node::Kind::op || node->kind == Node::Kind::layer;
    switch (rng_.below(nodes.size() > 40 ? 12 : 10)) {
      case 0:
        graph.add_op(name, "relu", {}, {earlier}, node);
        break;
      case 1:
        graph.add_op(name, "add", {}, {earlier, rng_.below(2) ? node : earlier}, node);
        break;
      case 2:
        graph.add_layer(name, layer(), {earlier}, node);
        break;
      case 3:
        if (node->kind == Node::Kind::layer) graph.add_call(name, node->target, {node}, node);
        break;
      case 4:
        if (rng_.below(4) == 0) graph.add_tensor(name, Tensor(NDArray::ones({1})));
        break;
      case 5:
        if (computes && before < at) graph.set_input(node, rng_.below(node->inputs.size()), earlier);
        break;
      case 6:
        graph.replace_uses(node, earlier);
        break;
      case 7:
        if (node->kind == Node::Kind::layer) graph.replace_layer(node, layer());
        if (node->kind == Node::Kind::op && node->inputs.size() == 1) graph.replace_op(node, "tanh", {});
        break;
      case 8:
        if (!graph.find(name)) graph.rename(node, name);
        break;
      case 9:
        if (computes && rng_.below(4) == 0) graph.replace_by_tensor(node, Tensor(NDArray::ones({1})));
        break;
      case 10:
        if (graph.users(node).empty() && node != graph.output() && node->kind != Node::Kind::input) graph.erase(node);
        break;
      default:
        if (rng_.below(10) == 0) graph.eliminate_dead_nodes();
    }
  }

  Graph graph;

 private:
  Generator rng_;
};

TEST(GraphEdits, LeaveUsersCallsAndNamesAsASearchFindsThem) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Editor editor(seed);
    for (int i = 0; i < 300; ++i) {
      editor.edit();
      expect_sound(editor.graph);
      if (HasFatalFailure()) FAIL() << "edit " << i << " of seed " << seed;
    }
    const Graph copy = editor.graph.clone(), moved = std::move(editor.graph);
    expect_sound(copy);
    expect_sound(moved);
    EXPECT_EQ(copy.table(), moved.table());
  }
}

}  // namespace
}  // namespace thimble::nn
