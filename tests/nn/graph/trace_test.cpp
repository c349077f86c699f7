#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> node_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node* node : graph.nodes()) names.push_back(node->name);
  return names;
}

void expect_same(Module& a, Module& b, const Tensor& x) {
  EXPECT_EQ(a(x).data().to_vector<float>(), b(x).data().to_vector<float>());
}

// Expects trace to throw a ValueError whose message has `text`.
void expect_rejected(Module& model, const Tensor& example, const std::string& text) {
  try {
    trace(model, example);
    FAIL() << "traced";
  } catch (const ValueError& e) {
    EXPECT_THAT(e.what(), HasSubstr(text));
  }
}

struct Block : Module {
  Submodule<Linear> fc{this, "fc", 4, 4};
  Submodule<ReLU> act{this, "act"};
  Tensor forward(const Tensor& x) override { return act(fc(x)); }
};

struct ResidualNet : Module {
  Submodule<Block> block{this, "block"};
  Submodule<Linear> head{this, "head", 4, 3};
  Tensor gain = register_parameter("gain", NDArray::full({4}, 2));
  Tensor forward(const Tensor& x) override { return head(relu(x + block(x)) * gain + 1.0); }
};

TEST(Trace, DissolvesContainersAndKeepsLayersAndOps) {
  ResidualNet net;
  Graph graph = trace(net.eval(), random({2, 4}));
  EXPECT_THAT(node_names(graph),
              ElementsAre("input", "block.fc", "block.act", "add", "relu", "gain", "mul", "constant", "add_1", "head"));
  EXPECT_EQ(graph.output(), graph.find("head"));
  EXPECT_TRUE(graph.is_layer(graph.find("block.fc"), "Linear"));
  EXPECT_TRUE(graph.is_op(graph.find("block.act"), "relu"));
  expect_same(net, graph, random({7, 4}, 9));
}

TEST(Trace, SequentialAndResidualContainers) {
  auto body = std::make_shared<Sequential>(Linear(4, 8), GELU(), Linear(8, 4));
  Sequential net(Residual(body), LeakyReLU(0.2), Flatten());
  Graph graph = trace(net.eval(), random({2, 4}));
  EXPECT_THAT(node_names(graph), ElementsAre("input", "0.body.0", "0.body.1", "0.body.2", "0.add", "1", "2"));
  expect_same(net, graph, random({3, 4}));
}

TEST(Trace, ALayerThatIsCalledTwiceIsOneLayer) {
  struct Shared : Module {
    Submodule<Linear> fc{this, "fc", 4, 4};
    Tensor forward(const Tensor& x) override { return fc(tanh(fc(x))); }
  } net;
  Graph graph = trace(net.eval(), random({2, 4}));
  EXPECT_THAT(node_names(graph), ElementsAre("input", "fc", "tanh", "fc_1"));
  EXPECT_EQ(graph.calls_of_layer(graph.find("fc_1")), 2);
  EXPECT_EQ(graph.num_parameters(), net.num_parameters());
  expect_same(net, graph, random({3, 4}));
}

TEST(Trace, ASingleLayerIsAGraph) {
  Linear layer(4, 2);
  Graph graph = trace(layer.eval(), random({1, 4}));
  EXPECT_EQ(graph.nodes().size(), 2u);
  expect_same(layer, graph, random({5, 4}));
}

TEST(Trace, OwnsItsLayersAndTheirModes) {
  Sequential net(Linear(4, 4), Dropout(0.5), Linear(4, 2));
  Graph graph = trace(net, random({2, 4}));
  EXPECT_TRUE(graph.training());
  EXPECT_TRUE(net.training());
  EXPECT_TRUE(graph.is_layer(graph.find("1"), "Dropout"));
  EXPECT_TRUE(graph.layer(graph.find("1")).training());
  net.eval();
  graph.eval();
  const Tensor x = random({3, 4});
  const auto before = graph(x).data().to_vector<float>();
  for (auto& p : net.parameters()) p.mutable_data().fill(0);
  EXPECT_EQ(graph(x).data().to_vector<float>(), before);
}

TEST(Trace, GraphsCanBeTrained) {
  Sequential net(Linear(4, 3), ReLU(), Linear(3, 1));
  Graph graph = trace(net, random({2, 4}));
  const Tensor x = random({3, 4});
  sum(graph(x)).backward();
  sum(net(x)).backward();
  const auto ours = graph.parameters(), expected = net.parameters();
  ASSERT_EQ(ours.size(), expected.size());
  for (size_t i = 0; i < ours.size(); ++i)
    EXPECT_EQ(ours[i].grad().data().to_vector<float>(), expected[i].grad().data().to_vector<float>());
}

TEST(Trace, SeveralInputs) {
  struct Two : Module {
    Tensor forward_all(std::span<const Tensor> x) override { return x[0] - x[1]; }
  } net;
  Graph graph = trace(net, {random({2, 3}), random({2, 3}, 8)});
  const Tensor a = random({4, 3}, 1), b = random({4, 3}, 2);
  EXPECT_EQ(graph(a, b).data().to_vector<float>(), sub(a, b).data().to_vector<float>());
  EXPECT_THROW(graph(a), ValueError);
}

TEST(Trace, RejectsValuesComputedElsewhere) {
  struct Outside : Module {
    Submodule<Linear> fc{this, "fc", 4, 4};
    Tensor forward(const Tensor& x) override {
      NDArray doubled = x.data().clone();
      for (int64_t i = 0; i < doubled.numel(); ++i) doubled.data<float>()[i] *= 2;
      return fc(x) + Tensor(doubled);
    }
  } net;
  expect_rejected(net, random({2, 4}), "those of 'input' are read outside of Thimble's ops");
}

TEST(Trace, RejectsAnOutputComputedElsewhere) {
  struct Outside : Module {
    Tensor forward(const Tensor& x) override { return Tensor(relu(x).data().clone()); }
  } net;
  expect_rejected(net, random({2, 4}), "those of 'relu' are read outside");
  struct Constant : Module {
    Tensor forward(const Tensor&) override { return Tensor(NDArray::ones({2})); }
  } constant;
  expect_rejected(constant, random({2, 4}), "output was computed outside");
}

// What two runs do may be the same by chance: the branch that this one takes, the number that that one reads.
TEST(Trace, RejectsEveryReadOfValuesThatDependOnTheInput) {
  struct Branch : Module {
    Submodule<Linear> a{this, "a", 4, 4};
    Tensor forward(const Tensor& x) override { return sum(x).item<float>() > 0 ? a(x) : relu(a(x)); }
  } branch;
  for (double value : {-3.0, -0.1, 0.0, 1e-20, 0.5, 2.6, 1e9})
    expect_rejected(branch, NDArray::full({2, 4}, value), "those of 'sum' are read");

  struct Indices : Module {
    Submodule<Embedding> embedding{this, "embedding", 10, 3};
    Tensor forward(const Tensor& x) override { return embedding(x) * static_cast<double>(x.item<int64_t>()); }
  } indices;
  for (int64_t index : {0, 1, 9}) expect_rejected(indices, NDArray::full({1}, index, DType::int64), "those of 'input'");

  struct Far : Module {  // from every value that two runs could try
    Submodule<Linear> fc{this, "fc", 4, 4};
    Tensor forward(const Tensor& x) override { return max(fc(x)).item<float>() > 1e30f ? x : fc(x); }
  } far;
  expect_rejected(far, random({2, 4}), "those of 'max' are read");

  struct InABlock : Module {
    struct Inner : Module {
      Tensor forward(const Tensor& x) override { return x.data().to_vector<float>()[0] > 7 ? tanh(x) : x * 2.0; }
    };
    Submodule<Inner> inner{this, "inner"};
    Tensor forward(const Tensor& x) override { return inner(relu(x)); }
  } in_a_block;
  expect_rejected(in_a_block, random({2, 4}), "those of 'relu' are read");
}

TEST(Trace, ShapesAndParametersMayBeRead) {
  struct Reads : Module {
    const Tensor gain = register_parameter("gain", NDArray::full({}, 3));
    Submodule<Linear> fc{this, "fc", 4, 4};
    Tensor forward(const Tensor& x) override {
      const Tensor h = fc(x);
      check<ShapeError>(h.ndim() == 2 && h.numel() % 4 == 0 && h.dtype() == DType::float32, "cannot be");
      return gain.item<float>() > 2 ? reshape(h, {-1, h.shape(1)}) : h;
    }
  } net;
  Graph graph = trace(net.eval(), random({2, 4}));
  expect_same(net, graph, random({7, 4}, 9));
}

TEST(Trace, ValuesThatAModelKeepsCanBeReadAfterwards) {
  struct Keeps : Module {
    Tensor last;
    Tensor forward(const Tensor& x) override { return last = relu(x); }
  } net;
  const Tensor x = random({2, 4});
  trace(net, x);
  EXPECT_EQ(net.last.data().shape(), (Shape{2, 4}));
  struct Throws : Keeps {
    Tensor forward(const Tensor& input) override { return last.defined() ? reshape(last, {7}) : last = relu(input); }
  } throws;
  EXPECT_THROW(trace(throws, x), ShapeError);
  EXPECT_EQ(throws.last.data().to_vector<float>(), relu(x).data().to_vector<float>());
}

TEST(Trace, RejectsControlFlowOnValues) {
  struct Branch : Module {
    Tensor forward(const Tensor& x) override { return sum(x).item<float>() > 10 ? tanh(x) : exp(x); }
  } net;
  expect_rejected(net, Tensor(NDArray::full({4}, 2.6)), "depends on its input's values");
}

TEST(Trace, RejectsModulesThatAreNotRegistered) {
  struct Stray : Module {
    Linear fc{4, 4};
    Tensor forward(const Tensor& x) override { return fc(x); }
  } net;
  expect_rejected(net, random({2, 4}), "not registered");
}

TEST(Trace, LeavesTheModelAndTheThreadAsTheyWere) {
  struct Throws : Module {
    Tensor forward(const Tensor& x) override { return reshape(x, {7}); }
  } net;
  EXPECT_THROW(trace(net, random({2, 4})), ShapeError);
  // Nothing listens any more, and gradients are recorded.
  Tensor w(NDArray::ones({2}), true);
  sum(w * w).backward();
  EXPECT_EQ(w.grad().data().to_vector<float>(), (std::vector<float>{2, 2}));
  EXPECT_TRUE(net.training());
}

TEST(Trace, RejectsAnOpThatDependsOnTheBatchSize) {
  struct Baked : Module {
    Tensor forward(const Tensor& x) override { return x - sum(x, {0}, true) / static_cast<double>(x.shape(0)); }
  } baked;
  EXPECT_THROW(trace(baked, random({1, 3})), ValueError);
  struct Reshaped : Module {
    Tensor forward(const Tensor& x) override { return reshape(x, {x.shape(0), -1}); }
  } reshaped;
  EXPECT_THROW(trace(reshaped, random({1, 3, 2})), ValueError);
  struct One : Module {  // of one sample at a time
    Tensor forward(const Tensor& x) override { return reshape(x, {1, 6}); }
  } one;
  EXPECT_EQ(trace(one, random({1, 3, 2})).nodes().size(), 2u);
}

TEST(Trace, ChangesEveryElementOfTheExample) {
  struct Constant : Module {
    Tensor forward(const Tensor& x) override { return x * x.data().to_vector<float>()[0]; }
  } net;
  for (double value : {0.25, 0.5, 0.75, 0.3, 0.0}) EXPECT_THROW(trace(net, NDArray::full({1, 1}, value)), ValueError);
}

}  // namespace
}  // namespace thimble::nn
