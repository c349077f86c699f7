#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include <gtest/gtest.h>

#include "tests/nn/random_input.h"
#include "tests/nn/random_model.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/step_list.h>
#include <thimble/nn/layers/container.h>

namespace thimble::nn {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

// How many steps the graph takes for inputs of this shape.
size_t steps_of(const Graph& graph, const Shape& shape) {
  SharedState shared;
  return make_steps(graph, {ValueInfo{shape}}, shared).steps.size();
}

std::vector<float> on_executor(Graph& graph, const Tensor& x) {
  const NoGrad guard;
  return graph(x).data().to_vector<float>();
}

// Node by node. The largest of all finite values goes to `largest`.
std::vector<float> node_by_node(Graph& graph, const Tensor& x, float* largest = nullptr) {
  const NoGrad guard;
  const std::vector<Node*> nodes = graph.nodes();
  const std::vector<Tensor> values = graph.run_all(std::vector<Tensor>{x});
  for (const Tensor& value : values)
    for (const float v : value.data().to_vector<float>())
      if (largest && std::isfinite(v)) *largest = std::max(*largest, std::abs(v));
  return values[static_cast<size_t>(std::ranges::find(nodes, graph.output()) - nodes.begin())]
      .data()
      .to_vector<float>();
}

// Rounding apart, which cancellation leaves in proportion to what was added up. NaN and infinity are as they are.
void expect_same(Graph& graph, const Tensor& x) {
  float largest = 0;
  const std::vector<float> expected = node_by_node(graph, x, &largest), got = on_executor(graph, x);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isfinite(expected[i]))
      ASSERT_NEAR(got[i], expected[i], 1e-5 * (1 + largest)) << "element " << i;
    else
      ASSERT_TRUE(std::isnan(expected[i]) ? std::isnan(got[i]) : got[i] == expected[i]) << expected[i] << ' ' << got[i];
  }
}

void randomize(BatchNorm& bn, uint64_t seed) {
  const Shape shape{bn.num_features()};
  bn.running_mean.set_data(random(shape, seed).data());
  bn.running_var.set_data((random(shape, seed + 1) * random(shape, seed + 1) + 0.1).data());
  if (!bn.weight.defined()) return;
  bn.weight.set_data(random(shape, seed + 2).data());
  bn.bias.set_data(random(shape, seed + 3).data());
}

// A network of convolutions whose forward function is given, with normalization behind each.
struct AnyNet : Module {
  using Forward = std::function<Tensor(AnyNet&, const Tensor&)>;
  explicit AnyNet(Forward f) : forward_(std::move(f)) {
    randomize(*bn, 1);
    randomize(*bn2, 11);
    randomize(*bn1d, 21);
  }
  Tensor forward(const Tensor& x) override { return forward_(*this, x); }

  Submodule<Conv2d> conv{this, "conv", 4, 4, 3, Conv2d::Options{.padding = 1}};
  Submodule<Conv2d> conv2{this, "conv2", 4, 4, 1, Conv2d::Options{.bias = false}};
  Submodule<BatchNorm2d> bn{this, "bn", 4}, bn2{this, "bn2", 4};
  Submodule<Linear> fc{this, "fc", 5, 4}, square{this, "square", 6, 6};
  Submodule<BatchNorm1d> bn1d{this, "bn1d", 4};

 private:
  Forward forward_;
};

struct FusionCase {
  const char* what;
  AnyNet::Forward forward;
  size_t steps;
  Shape sample = {4, 6, 5};
};

const FusionCase kCases[] = {
    {"conv, bn, relu", [](AnyNet& n, const Tensor& x) { return relu(n.bn(n.conv(x))); }, 1},
    {"conv, bn, relu6", [](AnyNet& n, const Tensor& x) { return relu6(n.bn(n.conv(x))); }, 1},
    {"no bias", [](AnyNet& n, const Tensor& x) { return clamp(n.bn(n.conv2(x)), -0.5, 1); }, 1},
    {"linear, bn, relu", [](AnyNet& n, const Tensor& x) { return relu(n.bn1d(n.fc(x))); }, 1, {5}},
    {"two clamps", [](AnyNet& n, const Tensor& x) { return clamp(clamp(n.conv(x), -1, 0.5), -0.25, 2); }, 1},
    {"clamps that exclude each other", [](AnyNet& n, const Tensor& x) { return clamp(relu6(n.conv(x)), -2, -1); }, 1},
    {"residual", [](AnyNet& n, const Tensor& x) { return relu(x + n.bn(n.conv(x))); }, 1},
    {"residual on the right", [](AnyNet& n, const Tensor& x) { return n.bn(n.conv(x)) + x; }, 1},
    {"two convolutions added", [](AnyNet& n, const Tensor& x) { return relu(n.bn(n.conv(x)) + n.bn2(n.conv2(x))); }, 2},
    {"the addend comes later",
     [](AnyNet& n, const Tensor& x) {
       const Tensor h = n.bn(n.conv(x));
       return relu(h + tanh(x * 0.5));
     },
     3},
    {"a value added to itself",
     [](AnyNet& n, const Tensor& x) {
       const Tensor h = n.conv(x);
       return relu(h + h);
     },
     3},
    {"a value with two readers",
     [](AnyNet& n, const Tensor& x) {
       const Tensor h = n.bn(n.conv(x));
       return relu(h) + n.conv2(h);
     },
     3},
    {"a broadcast addend",
     [](AnyNet& n, const Tensor& x) {
       return n.conv(x) + mean(x, {2, 3}, true);
     },
     3},
    {"the convolution is what is broadcast",
     [](AnyNet& n, const Tensor& x) {
       return n.conv2(mean(x, {2, 3}, true)) + x;
     },
     3},
    {"relu in front of the addition", [](AnyNet& n, const Tensor& x) { return x + relu(n.conv(x)); }, 2},
    {"bn behind relu", [](AnyNet& n, const Tensor& x) { return n.bn(relu(n.conv(x))); }, 2},
    {"bn behind bn", [](AnyNet& n, const Tensor& x) { return n.bn2(n.bn(n.conv(x))); }, 2},
    {"bn behind an addition", [](AnyNet& n, const Tensor& x) { return relu(n.bn(x + n.conv(x))); }, 2},
    {"bn in front", [](AnyNet& n, const Tensor& x) { return n.conv(relu(n.bn(x))); }, 2},
    {"an activation that is no clamp", [](AnyNet& n, const Tensor& x) { return relu(silu(n.bn(n.conv(x)))); }, 3},
    {"hard-swish",
     [](AnyNet& n, const Tensor& x) {
       const Tensor h = n.bn(n.conv(x));
       return h * relu6(h + 3.0) / 6.0;
     },
     5},
    {"bn of channels behind features", [](AnyNet& n, const Tensor& x) { return relu(n.bn1d(n.fc(x))); }, 3, {4, 5}},
    {"a flattened image as addend",
     [](AnyNet& n, const Tensor& x) {
       const Tensor rows = flatten(max_pool2d(x, 1), 1);
       return relu(n.square(rows) + rows);
     },
     3,
     {2, 3, 1}},
    {"a flattened input as addend",
     [](AnyNet& n, const Tensor& x) {
       const Tensor rows = flatten(x, 1);
       return relu(n.square(rows) + rows);
     },
     1,
     {2, 3, 1}},
};

TEST(Fusion, StepsDoWhatFollowsThem) {
  for (const FusionCase& c : kCases) {
    SCOPED_TRACE(c.what);
    manual_seed(3);
    AnyNet net(c.forward);
    Shape shape = c.sample;
    shape.insert(0, 2);
    Graph graph = trace(net.eval(), random(shape));
    const std::string before = graph.table();
    EXPECT_EQ(steps_of(graph, shape), c.steps) << before;
    for (const int64_t batch : {1, 2, 9}) {
      shape[0] = batch;
      expect_same(graph, random(shape, static_cast<uint64_t>(batch)));
    }
    EXPECT_EQ(graph.table(), before);
  }
}

// The numbers of normalization that do not fold: what comes out is what the nodes give.
TEST(Fusion, DegenerateStatisticsGiveWhatTheNodesGive) {
  const auto set = [](const Tensor& numbers, float value) { numbers.mutable_data().data<float>()[1] = value; };
  for (const float bad : {kNaN, kInfinity, -kInfinity, 1e38f, -1e38f, 1e-42f, 0.0f, -1.0f})
    for (int which = 0; which < 6; ++which)
      for (const bool residual : {false, true}) {
        SCOPED_TRACE(str(bad, " in ", which));
        manual_seed(4);
        AnyNet net([&](AnyNet& n, const Tensor& x) {
          const Tensor h = n.bn(n.conv(x));
          return relu(residual ? x + h : h);
        });
        set(std::vector<Tensor>{net.bn->running_mean, net.bn->running_var, net.bn->weight, net.bn->bias,
                                net.conv->weight, net.conv->bias}[static_cast<size_t>(which)],
            bad);
        Graph graph = trace(net.eval(), random({1, 4, 3, 3}));
        expect_same(graph, random({2, 4, 3, 3}));
      }
}

// 1e-30 / sqrt(1e-30) of weights of 1e36 is beyond float32, the sum of two products that cancel is not.
TEST(Fusion, WhatWouldOverflowIsNotFolded) {
  AnyNet net([](AnyNet& n, const Tensor& x) { return n.bn(n.conv2(x)); });
  net.conv2->weight.set_data(NDArray::full({4, 4, 1, 1}, 1e36));
  net.bn->running_var.set_data(NDArray::full({4}, 1e-30));
  net.bn->weight.set_data(NDArray::full({4}, 1e3));
  net.bn->running_mean.set_data(NDArray::zeros({4}));
  Graph graph = trace(net.eval(), random({1, 4, 3, 3}));
  EXPECT_EQ(steps_of(graph, {1, 4, 3, 3}), 2u);
  Tensor x = NDArray::zeros({1, 4, 3, 3});
  x.mutable_data().data<float>()[0] = 1;
  x.mutable_data().data<float>()[9] = -1;
  EXPECT_TRUE(std::isfinite(on_executor(graph, x)[0]));
  expect_same(graph, x);
}

TEST(Fusion, InputsThatAreNotFinitePassAsInTheNodes) {
  manual_seed(5);
  AnyNet net([](AnyNet& n, const Tensor& x) { return relu6(x + n.bn(n.conv(x))); });
  Graph graph = trace(net.eval(), random({1, 4, 6, 6}));
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    Tensor x = random({2, 4, 6, 6});
    x.mutable_data().data<float>()[40] = bad;
    expect_same(graph, x);
  }
}

TEST(Fusion, NoticesChangedStatistics) {
  manual_seed(6);
  AnyNet net([](AnyNet& n, const Tensor& x) { return relu(n.bn(n.conv(x))); });
  Graph graph = trace(net.eval(), random({1, 4, 6, 6}));
  const Tensor x = random({3, 4, 6, 6});
  expect_same(graph, x);
  auto& bn = *graph.layer_as<BatchNorm>(graph.find("bn"));
  for (const Tensor& numbers : {bn.running_mean, bn.running_var, bn.weight, bn.bias}) {
    const std::vector<float> before = on_executor(graph, x);
    numbers.set_data(NDArray::full({4}, 0.75));
    EXPECT_NE(on_executor(graph, x), before);
    expect_same(graph, x);
  }
}

// A class of a user's may compute something else than the layer that it is derived from.
TEST(Fusion, DerivedNormalizationIsCalled) {
  struct Doubled : BatchNorm2d {
    using BatchNorm2d::BatchNorm2d;
    Tensor forward(const Tensor& x) override { return BatchNorm2d::forward(x) * 2.0; }
    std::string type() const override { return "Doubled"; }
  };
  Graph graph;
  Node* conv = graph.add_layer("conv", std::make_shared<Conv2d>(2, 2, 1), {graph.add_input("x")});
  graph.set_output(graph.add_layer("bn", std::make_shared<Doubled>(2), {conv}));
  graph.eval();
  expect_same(graph, random({2, 2, 3, 3}));
}

TEST(Fusion, NodesThatTheOutputDoesNotNeedAreNotRun) {
  AnyNet net([](AnyNet& n, const Tensor& x) {
    const Tensor h = n.conv(x);
    tanh(n.conv2(h));
    return relu(n.bn(h));
  });
  Graph graph = trace(net.eval(), random({1, 4, 6, 6}));
  EXPECT_EQ(steps_of(graph, {1, 4, 6, 6}), 1u);
  expect_same(graph, random({2, 4, 6, 6}));
}

TEST(Fusion, RandomModelsComputeWhatTheirNodesDo) {
  const int threads = num_threads();
  size_t steps = 0, nodes = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomModel model(5000 + seed);
    Graph graph = trace(model.eval(), model.example());
    SCOPED_TRACE(str("seed ", seed, "\n", graph.table()));
    nodes += graph.nodes().size();
    steps += steps_of(graph, model.example().shape());
    Generator rng(seed);
    for (const int n : {1, 3}) {
      set_num_threads(n);
      Graph made_now = graph.clone();
      for (const int64_t batch : {1, 2, 6}) expect_same(made_now, model.input(batch, rng));
    }
    if (testing::Test::HasFailure()) break;
  }
  set_num_threads(threads);
  EXPECT_LT(steps, nodes * 2 / 3);
}

// Whether it is divided or not.
TEST(Fusion, ABatchHasTheBitsOfItsSamples) {
  const int threads = num_threads();
  for (uint64_t seed = 0; seed < 100; ++seed) {
    RandomModel model(7000 + seed);
    Graph graph = trace(model.eval(), model.example());
    SCOPED_TRACE(str("seed ", seed, "\n", graph.table()));
    set_num_threads(seed % 2 == 0 ? 1 : 3);
    Generator rng(seed);
    const Tensor x = model.input(7, rng);
    if (graph(x).shape()[0] != 7) continue;
    std::vector<float> one_by_one;
    for (int64_t i = 0; i < 7; ++i)
      for (const float v : on_executor(graph, x.data().slice(0, i, i + 1))) one_by_one.push_back(v);
    EXPECT_EQ(on_executor(graph, x), one_by_one);
    if (testing::Test::HasFailure()) break;
  }
  set_num_threads(threads);
}

// Elementwise ops write where their input lies, of all sizes.
TEST(Fusion, ChainsOfElementwiseOpsRunInPlace) {
  for (int64_t size = 1; size <= 70; ++size) {
    AnyNet net([](AnyNet&, const Tensor& x) {
      Tensor h = gelu(silu(sigmoid(tanh(x * 0.5) * 2.0)));
      h = maximum(h * h, leaky_relu(h - 0.25, 0.1));
      return abs(sqrt(exp(neg(h)) + 1.0)) / (h + 2.0);
    });
    const Tensor x = random({2, size}, static_cast<uint64_t>(size));
    Graph graph = trace(net.eval(), x);
    EXPECT_EQ(on_executor(graph, x), node_by_node(graph, x)) << size;
  }
}

TEST(Fusion, ManyThreadsGetTheSameAnswers) {
  manual_seed(8);
  AnyNet net([](AnyNet& n, const Tensor& x) { return relu(n.bn(n.conv(x)) + n.bn2(n.conv2(x))); });
  Graph graph = trace(net.eval(), random({1, 4, 6, 6}));
  std::vector<Tensor> inputs;
  std::vector<std::vector<float>> expected;
  for (int64_t batch = 1; batch <= 6; ++batch) {
    inputs.push_back(random({batch, 4, 6, 6}));
    Graph alone = graph.clone();
    expected.push_back(on_executor(alone, inputs.back()));
  }
  std::atomic<int> different = 0;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 60; ++i) {
        const size_t which = (i + t) % inputs.size();
        different += on_executor(graph, inputs[which]) != expected[which];
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

}  // namespace
}  // namespace thimble::nn
