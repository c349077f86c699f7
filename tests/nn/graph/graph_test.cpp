#include <functional>
#include <sstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// input -> fc -> relu -> add(relu, input)
class GraphTest : public testing::Test {
 protected:
  GraphTest() {
    manual_seed(1);
    input = graph.add_input("input");
    fc = graph.add_layer("fc", std::make_shared<Linear>(4, 4), {input});
    act = graph.add_op("relu", "relu", {}, {fc});
    out = graph.add_op("add", "add", {}, {act, input});
    graph.set_output(out);
  }

  std::vector<float> run(Graph& g) { return g(x).data().to_vector<float>(); }

  Graph graph;
  Node *input, *fc, *act, *out;
  Tensor x{NDArray::from_vector<float>({1, -2, 3, 0.5, 0, 1, -1, 4}, {2, 4})};
};

TEST_F(GraphTest, RunsItsNodes) {
  const auto* layer = graph.layer_as<Linear>(fc);
  const Tensor expected = relu(linear(x, layer->weight, layer->bias)) + x;
  EXPECT_EQ(run(graph), expected.data().to_vector<float>());
  EXPECT_EQ(graph.run_all(std::vector<Tensor>{x}).size(), 4u);
}

TEST_F(GraphTest, KnowsUsersAndNames) {
  EXPECT_THAT(graph.users(input), ElementsAre(fc, out));
  EXPECT_THAT(graph.users(out), ElementsAre());
  EXPECT_EQ(graph.find("fc"), fc);
  EXPECT_EQ(graph.find("missing"), nullptr);
  EXPECT_EQ(graph.add_op("relu", "relu", {}, {input})->name, "relu_1");
}

// A hundred clones of a network take the memory of one, until they are trained.
TEST_F(GraphTest, ClonesShareMemoryUntilOneIsTrained) {
  Graph copy = graph.clone(), second = copy.clone();
  const auto before = run(graph);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(graph.parameters()[i].data().shares_memory_with(copy.parameters()[i].data()));
    EXPECT_TRUE(graph.parameters()[i].data().shares_memory_with(second.parameters()[i].data()));
  }
  optim::SGD sgd(copy.parameters(), {.lr = 0.1});
  for (int step = 0; step < 3; ++step) {
    sgd.zero_grad();
    sum(copy(x) * copy(x)).backward();
    sgd.step();
  }
  EXPECT_NE(run(copy), before);
  EXPECT_EQ(run(graph), before);
  EXPECT_EQ(run(second), before);
  EXPECT_TRUE(graph.parameters()[0].data().shares_memory_with(second.parameters()[0].data()));
}

TEST_F(GraphTest, ClonesDeeply) {
  Graph copy = graph.clone();
  const auto before = run(graph);
  EXPECT_EQ(run(copy), before);
  for (auto& p : copy.parameters()) p.mutable_data().fill(0);
  copy.erase(copy.add_op("extra", "tanh", {}, {copy.find("fc")}));
  EXPECT_EQ(run(graph), before);
  EXPECT_NE(run(copy), before);
}

TEST_F(GraphTest, Edits) {
  Node* tanh_node = graph.add_op("tanh", "tanh", {}, {fc}, fc);
  graph.set_input(act, 0, tanh_node);
  EXPECT_EQ(run(graph), (relu(tanh(graph.layer(fc)(x))) + x).data().to_vector<float>());
  graph.replace_uses(out, act);
  EXPECT_EQ(graph.output(), act);
  EXPECT_EQ(graph.eliminate_dead_nodes(), 1);
  EXPECT_EQ(graph.find("add"), nullptr);
  EXPECT_EQ(run(graph), relu(tanh(graph.layer(fc)(x))).data().to_vector<float>());
  graph.replace_layer(fc, std::make_shared<Linear>(NDArray::zeros({4, 4}), Tensor()));
  EXPECT_EQ(run(graph), std::vector<float>(8, 0.0f));
}

TEST_F(GraphTest, NodesBecomeOtherOpsAndTensors) {
  graph.replace_op(act, "leaky_relu", {{"negative_slope", 0.5}});
  EXPECT_EQ(run(graph), (leaky_relu(graph.layer(fc)(x), 0.5) + x).data().to_vector<float>());
  EXPECT_THROW(graph.replace_op(fc, "relu", {}), ValueError);
  graph.replace_by_tensor(act, NDArray::full({4}, 2));
  graph.verify();
  EXPECT_EQ(run(graph), (x + 2.0).data().to_vector<float>());
  EXPECT_THROW(graph.replace_by_tensor(input, NDArray::ones({4})), ValueError);
  EXPECT_THROW(graph.replace_by_tensor(act, NDArray::ones({4})), ValueError);
  EXPECT_EQ(graph.eliminate_dead_nodes(), 1);
  graph.replace_by_tensor(out, x.data());
  Graph copy = graph.clone();
  EXPECT_EQ(run(copy), x.data().to_vector<float>());
}

TEST_F(GraphTest, EditsThatAreRefusedChangeNothing) {
  const std::string table = graph.table();
  const auto before = run(graph), parameters = graph.parameters()[0].data().to_vector<float>();
  Graph other = graph.clone();
  Node* foreign = other.find(fc->name);
  const std::vector<std::pair<const char*, std::function<void()>>> edits{
      {"a null layer", [&] { graph.replace_layer(fc, nullptr); }},
      {"a container as a layer", [&] { graph.replace_layer(fc, std::make_shared<Sequential>(Linear(4, 4))); }},
      {"a layer of a node that is null", [&] { graph.replace_layer(nullptr, std::make_shared<Linear>(4, 4)); }},
      {"a layer of another graph", [&] { graph.replace_layer(foreign, std::make_shared<Linear>(4, 4)); }},
      {"adding a null layer", [&] { graph.add_layer("new", nullptr, {fc}); }},
      {"an undefined tensor", [&] { graph.add_tensor("new", Tensor()); }},
      {"an undefined tensor for a node", [&] { graph.replace_by_tensor(act, Tensor()); }},
      {"a tensor for a node that is there", [&] { graph.replace_by_tensor(act, graph.parameters()[0]); }},
      {"a tensor for a node that is null", [&] { graph.replace_by_tensor(nullptr, x); }},
      {"an op for a node that is null", [&] { graph.replace_op(nullptr, "relu", {}); }},
      {"an input that is null", [&] { graph.set_input(act, 0, nullptr); }},
      {"an input of another graph", [&] { graph.set_input(act, 0, foreign); }},
      {"an op on another graph's node", [&] { graph.add_op("new", "relu", {}, {foreign}); }},
      {"an op behind another graph's node", [&] { graph.add_op("new", "relu", {}, {fc}, foreign); }},
      {"uses of null", [&] { graph.replace_uses(nullptr, fc); }},
      {"uses by null", [&] { graph.replace_uses(fc, nullptr); }},
      {"an output that is null", [&] { graph.set_output(nullptr); }},
      {"a name for null", [&] { graph.rename(nullptr, "new"); }},
      {"erasing null", [&] { graph.erase(nullptr); }},
      {"the layer of null", [&] { graph.layer(graph.find("typo")); }},
      {"the tensor of null", [&] { graph.tensor(graph.find("typo")); }},
  };
  for (const auto& [name, edit] : edits) {
    SCOPED_TRACE(name);
    EXPECT_THROW(edit(), ValueError);
    EXPECT_EQ(graph.table(), table);
    graph.verify();
    EXPECT_EQ(run(graph), before);
    EXPECT_EQ(graph.parameters()[0].data().to_vector<float>(), parameters);
  }
}

TEST_F(GraphTest, WhatWasMovedFromSaysSo) {
  Graph moved = std::move(graph);
  EXPECT_EQ(graph.output(), nullptr);
  EXPECT_TRUE(graph.nodes().empty());
  const std::vector<std::function<void()>> uses{
      [&] { graph.add_input("x"); },
      [&] { graph.add_op("relu", "relu", {}, {fc}); },
      [&] { graph.add_layer("new", std::make_shared<Linear>(4, 4), {fc}); },
      [&] { graph.add_tensor("new", x.detach()); },
      [&] { graph.set_output(fc); },
      [&] { graph.replace_uses(fc, act); },
      [&] { graph.replace_layer(fc, std::make_shared<Linear>(4, 4)); },
      [&] { graph.erase(out); },
      [&] { graph(x); },
      [&] { no_grad([&] { return graph(x); }); },
  };
  for (const auto& use : uses) EXPECT_THAT(use, testing::ThrowsMessage<ValueError>(testing::HasSubstr("moved from")));
  EXPECT_TRUE(graph.parameters().empty());
  graph = std::move(moved);
  graph.add_op("tanh", "tanh", {}, {fc});
  EXPECT_EQ(graph.eliminate_dead_nodes(), 1);
  EXPECT_FALSE(run(graph).empty());
}

TEST_F(GraphTest, EraseTakesTheLayerAlong) {
  graph.set_output(input);
  graph.eliminate_dead_nodes();
  EXPECT_EQ(graph.nodes().size(), 1u);
  EXPECT_EQ(graph.num_parameters(), 0);
}

TEST_F(GraphTest, RefusesToEraseWhatIsUsed) {
  EXPECT_THROW(graph.erase(fc), ValueError);
  EXPECT_THROW(graph.erase(out), ValueError);
}

TEST_F(GraphTest, VerifyFindsWhatIsWrong) {
  graph.verify();
  auto expect_wrong = [](const Graph& g, const std::string& text) {
    try {
      g.verify();
      FAIL() << "accepted, expected: " << text;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr(text));
    }
  };
  Graph late = graph.clone();
  late.set_input(late.find("relu"), 0, late.find("add"));
  expect_wrong(late, "'relu' stands before its input 'add'");
  Graph twice = graph.clone();
  twice.find("relu")->name = "fc";
  expect_wrong(twice, "'fc' is used twice");
  Graph renamed = graph.clone();
  renamed.find("relu")->name = "act";
  expect_wrong(renamed, "'act' was changed, but not by rename()");
  Graph unknown = graph.clone();
  unknown.find("relu")->target = "transmogrify";
  expect_wrong(unknown, "transmogrify");
  Graph empty;
  expect_wrong(empty, "no output");
  Graph no_layer = graph.clone();
  no_layer.find("fc")->target = "gone";
  expect_wrong(no_layer, "no layer 'gone'");
}

TEST_F(GraphTest, ErrorsInAStepNameTheLayer) {
  try {
    graph(Tensor(NDArray::zeros({2, 5})));
    FAIL() << "a wrong shape was accepted";
  } catch (const ShapeError& e) {
    EXPECT_THAT(e.what(), HasSubstr("fc: linear"));
  }
  EXPECT_THROW(graph(x, x), ValueError);
}

TEST_F(GraphTest, Prints) {
  EXPECT_EQ(graph.table(),
            "name   kind   type    inputs       attributes\n"
            "----------------------------------------------------------------\n"
            "input  input\n"
            "fc     layer  Linear  input        in_features=4, out_features=4\n"
            "relu   op     relu    fc\n"
            "add    op     add     relu, input\n"
            "output: add\n");
  EXPECT_THAT(graph.dot(), HasSubstr("\"fc\" -> \"relu\";"));
  EXPECT_THAT(graph.dot(), HasSubstr("\"fc\" [label=\"fc: Linear\"]"));
}

TEST_F(GraphTest, PrintsInAHundredColumnsWithoutDefaults) {
  const std::vector<int64_t> two{2, 2}, one{1, 1}, none{0, 0, 0, 0};
  Node* pool = graph.add_op("a_name_" + std::string(80, 'x'), "max_pool2d",
                            {{"kernel_size", two}, {"stride", one}, {"padding", none}, {"dilation", one}}, {out});
  Node* conv =
      graph.add_op("conv", "conv2d", {{"stride", one}, {"groups", int64_t{1}}, {"eps", 1e-5}, {"p", 0.1}}, {pool});
  graph.add_op("other", "conv2d", {{"stride", two}, {"relu", true}, {"eps", 1e-3}}, {conv});
  const std::string table = graph.table();
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  EXPECT_THAT(table, HasSubstr("stride=[1,1]")) << "of a pool, which is its kernel by default";
  EXPECT_THAT(table, HasSubstr("stride=[2,2]"));
  EXPECT_THAT(table, HasSubstr("p=0.1"));
  EXPECT_THAT(table, HasSubstr("relu=true"));
  EXPECT_THAT(table, HasSubstr("eps=0.001"));
  for (const char* by_default : {"padding", "dilation", "groups", "eps=1e-05"})
    EXPECT_THAT(table, testing::Not(HasSubstr(by_default)));
}

TEST_F(GraphTest, CanBeCalledFromSeveralThreads) {
  graph.eval();
  const auto expected = run(graph);
  Graph fresh = graph.clone();  // not planned yet
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t t = 0; t < wrong.size(); ++t)
    threads.emplace_back([&, t] {
      const NoGrad guard;
      for (int i = 0; i < 200; ++i) wrong[t] += run(fresh) != expected;
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_F(GraphTest, VerifyFindsNullInputsAndTensorsOfOneName) {
  act->inputs[0] = nullptr;
  EXPECT_THROW(graph.verify(), ValueError);
  act->inputs[0] = fc;
  graph.verify();
  graph.add_tensor("fc.running_mean", Tensor(NDArray::ones({4})));
  graph.replace_layer(fc, std::make_shared<BatchNorm1d>(4));
  EXPECT_THROW(graph.verify(), ValueError);
}

TEST_F(GraphTest, TensorsHavePathsOfTheirOwn) {
  Node* tensor = graph.add_tensor("fc.weight", Tensor(NDArray::ones({4})));
  EXPECT_EQ(tensor->name, "fc.weight");
  EXPECT_EQ(tensor->target, "fc.weight_1");
  graph.add_tensor("fc2.weight", Tensor(NDArray::ones({4})));
  const Node* layer = graph.add_layer("fc2", std::make_shared<Linear>(4, 4), {fc});
  EXPECT_EQ(layer->name, "fc2");
  EXPECT_NE(layer->target, "fc2");
  graph.verify();
}

TEST_F(GraphTest, EditsOfForeignNodesChangeNothing) {
  Graph other = graph.clone();
  Node* foreign = other.find("relu");
  EXPECT_THROW(graph.erase(other.find("add")), ValueError);
  EXPECT_THROW(graph.set_input(foreign, 0, fc), ValueError);
  EXPECT_THROW(graph.add_layer("fc2", std::make_shared<Linear>(4, 4), {fc}, foreign), ValueError);
  EXPECT_EQ(graph.state().size(), 2u);
  graph.verify();
  graph.add_layer("fc2", std::make_shared<Linear>(4, 4), {fc});
}

TEST_F(GraphTest, TensorsAndLayersAreThereOnce) {
  const Tensor t(NDArray::ones({4}), true);
  graph.add_tensor("t", t);
  EXPECT_THROW(graph.add_tensor("u", t), ValueError);
  EXPECT_THROW(graph.add_layer("sequence", std::make_shared<Sequential>(), {fc}), ValueError);
}

TEST_F(GraphTest, Renames) {
  graph.rename(act, "act");
  EXPECT_EQ(act->name, "act");
  EXPECT_EQ(graph.find("act"), act);
  EXPECT_EQ(graph.find("relu"), nullptr);
  graph.rename(act, "act");
  EXPECT_EQ(graph.find("act"), act);
  EXPECT_THROW(graph.rename(act, "fc"), ValueError);
  EXPECT_THROW(graph.rename(act, ""), ValueError);
  Graph other = graph.clone();
  EXPECT_THROW(graph.rename(other.find("act"), "other"), ValueError);
  EXPECT_EQ(graph.add_op("relu", "relu", {}, {input})->name, "relu");
  graph.verify();
}

TEST_F(GraphTest, NamesOfErasedNodesAreFree) {
  Node* extra = graph.add_op("extra", "tanh", {}, {fc});
  graph.erase(extra);
  EXPECT_EQ(graph.find("extra"), nullptr);
  Node* layer = graph.add_layer("extra", std::make_shared<Linear>(4, 4), {fc});
  EXPECT_EQ(layer->name, "extra");
  graph.erase(layer);
  Node* tensor = graph.add_tensor("extra", Tensor(NDArray::ones({4})));
  EXPECT_EQ(tensor->name, "extra");
  EXPECT_EQ(graph.tensor(tensor).numel(), 4);
}

// Were each, or each suffix of a name, looked for among all others, this would take minutes.
TEST_F(GraphTest, TensOfThousandsOfNodesAreAddedAndFound) {
  constexpr int kEach = 20000;
  Node* last = input;
  std::vector<Node*> added;
  for (int i = 0; i < kEach; ++i) {
    const std::string number = std::to_string(i);
    added.push_back(last = graph.add_layer("layer" + number, std::make_shared<Linear>(1, 1), {last}));
    added.push_back(graph.add_tensor("tensor" + number, Tensor(NDArray::ones({1}))));
    added.push_back(last = graph.add_op("op", "relu", {}, {last}));
  }
  graph.set_output(last);
  graph.verify();
  for (Node* node : added) {
    ASSERT_EQ(graph.find(node->name), node);
    if (node->kind == Node::Kind::layer) {
      ASSERT_EQ(graph.layer(node).name(), node->name);
    }
    if (node->kind == Node::Kind::tensor) {
      ASSERT_EQ(graph.tensor(node).numel(), 1);
    }
  }
  EXPECT_EQ(graph.nodes().size(), 4u + 3 * kEach);
}

TEST_F(GraphTest, CopiesKeepWhatIsFrozen) {
  Tensor t(NDArray::ones({4}), true);
  graph.add_tensor("t", t);
  t.set_requires_grad(false);
  Graph copy = graph.clone();
  ASSERT_EQ(copy.parameters().size(), 3u);
  for (const auto& [name, parameter] : copy.named_parameters()) EXPECT_EQ(parameter.requires_grad(), name != "t");
}

}  // namespace
}  // namespace thimble::nn
