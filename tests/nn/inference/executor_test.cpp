#include <atomic>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/inference/step_list.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

using testing::FloatNear;
using testing::Pointwise;

using testing::HasSubstr;

Tensor uniform_input(const Shape& shape, uint64_t seed = 7) {
  Generator rng(seed);
  return rand(shape, rng);
}

// Runs node by node.
NDArray slowly(Graph& graph, const Tensor& x) { return graph.run_all(std::vector<Tensor>{x}).back().data(); }

// On the executor, with several numbers of threads and sizes of batch.
void expect_same(Graph& graph, const Shape& sample) {
  const int threads = num_threads();
  const NoGrad guard;
  // Not through the graph, which answers node by node where its executor throws.
  Executor executor(graph);
  for (int n : {1, 2, 3}) {
    set_num_threads(n);
    for (int64_t batch : {1, 2, 7, 40}) {
      Shape shape = sample;
      shape.insert(0, batch);
      const Tensor x = uniform_input(shape, static_cast<uint64_t>(batch));
      const NDArray expected = slowly(graph, x);
      for (int again = 0; again < 2; ++again) {
        const NDArray got = executor.run(graph, std::vector<Tensor>{x})[0].data();
        ASSERT_EQ(got.shape(), expected.shape());
        const auto g = got.to_vector<float>(), e = expected.to_vector<float>();
        for (size_t i = 0; i < e.size(); ++i)
          ASSERT_NEAR(g[i], e[i], 1e-4 * (1 + std::abs(e[i]))) << "batch " << batch << ", threads " << n;
      }
    }
  }
  set_num_threads(threads);
}

// Everything that a graph can have: convolutions, a residual, pools, ops without a step, a flattened image into a
// linear layer and into something else.
struct Mixed : Module {
  Submodule<Conv2d> conv1{this, "conv1", 3, 8, 3, Conv2d::Options{.padding = 1}};
  Submodule<ConvBNReLU> block{this, "block", 8, 8, 3, Conv2d::Options{.padding = 1}};
  Submodule<Dropout> dropout{this, "dropout", 0.5};
  Submodule<Linear> fc{this, "fc", 8 * 4 * 4, 6};
  Submodule<LayerNorm> norm{this, "norm", Shape{8 * 4 * 4}};
  Tensor forward(const Tensor& x) override {
    Tensor h = max_pool2d(gelu(conv1(x)), 2);
    h = relu(h + block(h));
    const Tensor rows = flatten(dropout(h), 1);
    const Tensor other = sum(norm(rows) * 0.5, {1}, true);
    return concat({softmax(fc(rows), 1), other}, 1);
  }
};

TEST(Executor, ComputesWhatTheNodesDo) {
  manual_seed(1);
  Mixed model;
  Graph graph = trace(model.eval(), uniform_input({2, 3, 8, 8}));
  expect_same(graph, {3, 8, 8});
}

// Rows that are normalized, of each sample by itself.
struct Sequences : Module {
  Submodule<LayerNorm> norm{this, "norm", Shape{16}};
  Submodule<LayerNorm> whole{this, "whole", Shape{5, 16}, LayerNorm::Options{.elementwise_affine = false}};
  Tensor forward(const Tensor& x) override {
    const Tensor h = norm(x);
    const Tensor mixed = matmul(softmax(matmul(h, transpose(x, 1, 2))), h);
    return layer_norm(erf(mixed), {16}) + log_softmax(whole(mixed), 1) + softmax(x, -2);
  }
};

TEST(Executor, NormalizesSequences) {
  manual_seed(4);
  auto model = std::make_shared<Sequences>();
  model->norm->weight.set_data(random({16}).data());
  model->norm->bias.set_data(random({16}, 8).data());
  model->eval();
  Graph graph = trace(*model, random({2, 5, 16}));
  expect_same(graph, {5, 16});
}

TEST(Executor, DividesBatchesOfNetworksThatTreatSamplesSeparately) {
  manual_seed(2);
  Sequential model(ConvBNReLU(1, 16, 3, {.padding = 1}), ConvBNReLU(16, 8, 3, {.stride = 2}));
  Graph graph = trace(model.eval(), uniform_input({2, 1, 28, 28}));
  expect_same(graph, {1, 28, 28});
}

TEST(Executor, GivesImagesInTheUsualOrder) {
  Sequential model(Conv2d(2, 3, 1));
  Graph graph = trace(model.eval(), uniform_input({1, 2, 4, 5}));
  expect_same(graph, {2, 4, 5});
}

TEST(Executor, TakesAnyStrides) {
  Sequential model(Conv2d(4, 3, 3), Conv2d(3, 2, 2));
  Graph graph = trace(model.eval(), uniform_input({1, 4, 6, 6}));
  const NoGrad guard;
  const Tensor x = uniform_input({3, 6, 4, 6}).data().transpose(1, 2);
  EXPECT_EQ(graph(x).shape(), (Shape{3, 2, 3, 3}));
  const auto got = graph(x).data().to_vector<float>(), expected = slowly(graph, x).to_vector<float>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5);
}

TEST(Executor, TensorsOfTheGraphAndOpsThatMixTheBatch) {
  struct Net : Module {
    Tensor scale = register_parameter("scale", Tensor(NDArray::full({1, 3, 1, 1}, 2), true));
    Tensor forward(const Tensor& x) override { return x * scale - mean(x, {0}, true); }
  } net;
  Graph graph = trace(net.eval(), uniform_input({2, 3, 4, 4}));
  expect_same(graph, {3, 4, 4});
}

// A tensor of the graph lies as images do, too. (As wide as it has channels, so that taking one for the other fits.)
TEST(Executor, TensorsOfTheGraphAreImages) {
  struct Net : Module {
    Tensor scale = register_parameter("scale", Tensor(NDArray::from_vector<float>({1, 2, 3}, {1, 3, 1, 1}), true));
    Tensor forward(const Tensor& x) override { return x * scale; }
  } net;
  Graph graph = trace(net.eval(), uniform_input({2, 3, 3, 3}));
  expect_same(graph, {3, 3, 3});
}

// A dropout's value is its input's memory.
TEST(Executor, ViewsOfTensorsOfTheGraph) {
  struct Net : Module {
    Tensor shift = register_parameter("shift", Tensor(NDArray::full({1, 3}, 2), true));
    Submodule<Dropout> dropout{this, "dropout", 0.5};
    Tensor forward(const Tensor& x) override { return x + dropout(shift); }
  } net;
  Graph graph = trace(net.eval(), random({2, 3}));
  expect_same(graph, {3});
}

TEST(Executor, IndicesAreNoImages) {
  struct Net : Module {
    Submodule<Embedding> table{this, "table", 10, 4};
    Submodule<Linear> fc{this, "fc", 4, 3};
    Tensor forward(const Tensor& x) override { return fc(table(x)); }
  } net;
  const Tensor x = NDArray::from_vector<int64_t>({1, 2, 3, 9, 0, 5}, {2, 3});
  Graph graph = trace(net.eval(), x);
  const NoGrad guard;
  const Tensor y = Executor(graph).run(graph, std::vector<Tensor>{x})[0];
  EXPECT_EQ(y.shape(), (Shape{2, 3, 3}));
  expect_close(y.data(), slowly(graph, x), 1e-6);
}

TEST(Executor, NoticesChangedWeightsModesAndEdits) {
  Sequential model(Linear(4, 4), Dropout(0.9));
  Graph graph = trace(model.eval(), uniform_input({1, 4}));
  const Tensor x = uniform_input({5, 4});
  const NoGrad guard;
  graph(x);
  graph.parameters()[0].mutable_data().fill(0);
  graph.parameters()[1].set_data(NDArray::ones({4}));
  EXPECT_EQ(graph(x).data().to_vector<float>(), std::vector<float>(20, 1));
  graph.train();
  EXPECT_NE(graph(x).data().to_vector<float>(), std::vector<float>(20, 1));
  graph.eval();
  graph.set_output(graph.add_op("relu", "neg", {}, {graph.output()}));
  EXPECT_EQ(graph(x).data().to_vector<float>(), std::vector<float>(20, -1));
  Graph moved = std::move(graph);
  EXPECT_EQ(moved(x).data().to_vector<float>(), std::vector<float>(20, -1));
}

TEST(Executor, ManyThreadsGetTheSameAnswers) {
  manual_seed(3);
  Mixed model;
  Graph graph = trace(model.eval(), uniform_input({2, 3, 8, 8}));
  const Tensor x = uniform_input({4, 3, 8, 8});
  std::vector<float> expected;
  {
    const NoGrad guard;
    expected = graph(x).data().to_vector<float>();
  }
  std::atomic<int> different = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      const NoGrad guard;
      for (int i = 0; i < 50; ++i) different += graph(x).data().to_vector<float>() != expected;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

TEST(Executor, InputsThatNoNodeUsesDoNotMatter) {
  manual_seed(1);
  Graph graph;
  Node* x = graph.add_input("x");
  graph.add_input("unused");
  graph.set_output(graph.add_layer("fc", std::make_shared<Linear>(3, 2), {x}));
  graph.eval();
  const NoGrad guard;
  const Tensor rows = uniform_input({1000, 3});
  const std::vector<float> expected = graph.layer(graph.output())(rows).data().to_vector<float>();
  for (const Shape& shape : {Shape{0, 5}, Shape{}, Shape{3}, Shape{0}, Shape{0, 2, 2, 2}, Shape{1000, 0}, Shape{1000}})
    EXPECT_THAT(graph(rows, Tensor(NDArray::zeros(shape))).data().to_vector<float>(),
                Pointwise(FloatNear(1e-6f), expected))  // the executor may divide the batch
        << shape;
  graph.set_output(x);
  graph.eliminate_dead_nodes();
  for (const Shape& shape : {Shape{0, 5}, Shape{}, Shape{1000}})
    EXPECT_EQ(graph(Tensor(NDArray::ones(shape)), rows).shape(), shape);
}

TEST(Executor, AConstantAnswerIsNotDividedWithTheBatch) {
  Graph graph;
  graph.add_input("x");
  graph.set_output(graph.add_tensor("constant", Tensor(NDArray::from_vector<float>({1, 2, 3}))));
  graph.eval();
  const NoGrad guard;
  for (int64_t batch : {1, 1000})
    EXPECT_EQ(graph(uniform_input({batch, 3})).data().to_vector<float>(), (std::vector<float>{1, 2, 3})) << batch;
}

// Of the parts of a batch the same nodes would give other sizes, or be errors: where a shape follows from the batch's,
// and where another dimension is as large as the batch by chance.
TEST(Executor, WhatFollowsFromTheBatchSizeIsNotDivided) {
  constexpr int64_t kBatch = 1024;  // its values are too large for one part
  for (const char* op : {"broadcast_to", "reshape"}) {
    SCOPED_TRACE(op);
    Graph graph;
    Node* x = graph.add_input("x");
    Node* sizes = graph.add_op("sizes", "shape", {}, {x});
    Node* batch = graph.add_op("batch", "slice", {{"axis", 0}, {"start", 0}, {"stop", 1}, {"step", 1}}, {sizes});
    Node* any = graph.add_tensor("any", NDArray::from_vector<int64_t>({-1}));
    Node* shape = graph.add_op("shape", "concat", {{"axis", 0}}, {any, batch});
    Node* square = graph.add_op("square", op, {{kAttributeInputs, "shape"}}, {x, shape});
    Node* y = graph.add_op("y", "sum", {{"axes", std::vector<int64_t>{1}}}, {graph.add_op("e", "exp", {}, {square})});
    graph.set_output(y);
    graph.eval();
    const NoGrad guard;
    const Tensor in = uniform_input({kBatch, op == std::string("reshape") ? kBatch : 1});
    expect_close(graph(in).data(), graph.run_all(std::vector<Tensor>{in}).back().data(), 1e-4);
  }
}

// The last columns of exp(x) but one, of as many as a value has rows or columns that nobody reads.
Graph last_columns(int64_t axis_of_size) {
  Graph graph;
  Node* x = graph.add_input("x");
  Node* h = graph.add_op("h", "exp", {}, {x});
  Node* unread = graph.add_op("unread", "neg", {}, {graph.add_op("twice", "add", {}, {h, h})});
  Node* sizes = graph.add_op("sizes", "shape", {}, {unread});
  Node* which = graph.add_tensor("which", NDArray::from_vector<int64_t>({axis_of_size}));
  Node* size =
      graph.add_op("size", "squeeze", {{"axis", 0}}, {graph.add_op("take", "take", {{"axis", 0}}, {sizes, which})});
  const auto less = [&](const char* name, int64_t by) {
    return graph.add_op(name, "sub", {},
                        {size, graph.add_tensor(str(name, "_by"), NDArray::full({}, by, DType::int64))});
  };
  const Attributes attributes{{"axis", 1}, {"step", 1}, {kAttributeInputs, "start,stop"}};
  graph.set_output(graph.add_op("y", "slice", attributes, {h, less("start", 3), less("stop", 1)}));
  graph.eval();
  return graph;
}

TEST(Executor, WhatIsAskedForItsShapeAloneIsNotComputed) {
  Graph graph = last_columns(1);
  SharedState shared;
  const StepList list = make_steps(graph, {ValueInfo{{4, 6}}}, shared);
  EXPECT_EQ(list.steps.size(), 2u);  // exp, and a copy of the columns
  EXPECT_TRUE(list.per_sample);
  expect_same(graph, {6});
}

// Of a part of the batch other columns would be the last ones.
TEST(Executor, BoundsThatFollowFromTheBatchSizeAreThoseOfTheWhole) {
  constexpr int64_t kBatch = 1024;  // its values are too large for one part
  Graph graph = last_columns(0);
  const NoGrad guard;
  const Tensor x = uniform_input({kBatch, kBatch});
  EXPECT_EQ(graph(x).data().to_vector<float>(), exp(slice(x, 1, kBatch - 3, kBatch - 1)).data().to_vector<float>());
}

TEST(Executor, ErrorsNameTheLayerAndTheNumbers) {
  Sequential model(Conv2d(1, 2, 3), ConvBNReLU(2, 2, 3));
  Graph graph = trace(model.eval(), uniform_input({1, 1, 8, 8}));
  const NoGrad guard;
  auto message = [&](const Shape& shape) -> std::string {
    try {
      graph(uniform_input(shape));
    } catch (const ShapeError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message({1, 3, 8, 8}), HasSubstr("0: conv2d: weight [2,1,3,3] expects 1 input channels, got 3"));
  EXPECT_THAT(message({1, 1, 4, 4}), HasSubstr("1.conv: conv2d: a kernel of 3x3 is larger"));
  EXPECT_THAT(message({0, 1, 8, 8}), HasSubstr("0: conv2d: the batch is empty"));
  EXPECT_THROW(graph(uniform_input({1, 1, 8, 8}), uniform_input({1, 1, 8, 8})), ValueError);
}

}  // namespace
}  // namespace thimble::nn
