// One loaded model, called by many threads at once.
#include <atomic>
#include <latch>
#include <thread>

#include <gtest/gtest.h>

#include "tests/sanitized.h"
#include "tests/serialization/round_trip.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/quantize.h>

namespace thimble {
namespace {

constexpr int kSlowdown = kSanitized ? 50 : 1;
constexpr int kThreads = 8;

class ManyThreads : public CheckpointTest {
 protected:
  // So that calls share the pool, or find it in use, on a machine of any size.
  ManyThreads() { set_num_threads(4); }
  ~ManyThreads() override { set_num_threads(threads_before_); }

  // Calls a model of this graph `calls` times in all, half of them node by node, the others on the executor. All
  // answers must have the bits of those of another copy of the model that one thread has called.
  void expect_same_answers(const nn::Graph& graph, const Shape& sample, int calls) {
    save_model(graph, file);
    std::vector<Tensor> inputs;
    for (const int64_t batch : {1, 2, 33}) {
      Shape shape = sample;
      shape.insert(0, batch);
      for (const uint64_t seed : {1, 2}) inputs.emplace_back(random_input(shape, seed));
    }
    // Where float layers may round differently.
    const auto answer = [](nn::Graph& model, const Tensor& x, bool node_by_node) {
      const GradMode mode(node_by_node);
      const Tensor y = node_by_node ? model.run_all(std::vector<Tensor>{x}).back() : model(x);
      return y.data().to_vector<float>();
    };
    std::vector<std::vector<float>> expected[2];
    nn::Graph alone = load_model(file);
    for (const bool node_by_node : {false, true})
      for (const Tensor& x : inputs) expected[node_by_node].push_back(answer(alone, x, node_by_node));

    nn::Graph shared = load_model(file);  // nothing of it is made ready yet
    std::atomic<int> different = 0;
    std::latch start(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        const bool node_by_node = t % 2 == 1;
        start.arrive_and_wait();
        for (int i = 0; i < calls / kThreads; ++i) {
          const auto which = static_cast<size_t>(i + t) % inputs.size();
          different += answer(shared, inputs[which], node_by_node) != expected[node_by_node][which];
        }
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(different, 0);
  }

  // What only the first calls make ready, they make ready at the same time.
  void expect_same_first_answers(const nn::Graph& graph, const Shape& sample) {
    for (int i = 0; i < 200 / kSlowdown + 2; ++i) expect_same_answers(graph, sample, 2 * kThreads);
  }

 private:
  int threads_before_ = num_threads();
};

nn::Graph mlp() {
  manual_seed(1);
  nn::Sequential model(nn::Linear(20, 16), nn::ReLU(), nn::Linear(16, 16), nn::ReLU(), nn::Linear(16, 4));
  return nn::trace(model.eval(), Tensor(random_input({2, 20})));
}

nn::Graph cnn() {
  manual_seed(2);
  struct Net : nn::Module {
    nn::Submodule<nn::ConvBNReLU> a{this, "a", 3, 8, 3, nn::Conv2d::Options{.padding = 1}};
    nn::Submodule<nn::ConvBNReLU> b{this, "b", 8, 8, 3, nn::Conv2d::Options{.padding = 1}};
    nn::Submodule<nn::MaxPool2d> pool{this, "pool", 2};
    nn::Submodule<nn::Linear> fc{this, "fc", 8 * 4 * 4, 4};
    Tensor forward(const Tensor& x) override {
      Tensor h = pool(a(x));
      h = relu(h + b(h));
      return fc(flatten(h, 1));
    }
  } model;
  return nn::trace(model.eval(), Tensor(random_input({2, 3, 8, 8})));
}

nn::Graph int8(const nn::Graph& graph, const Shape& shape) {
  return quant::quantize_model(graph, [&](nn::Graph& prepared) { prepared(Tensor(random_input(shape, 5))); });
}

nn::Graph weight_only(const nn::Graph& graph) {
  const quant::QuantizationSpec int4{
      .bits = 4, .is_signed = true, .scheme = quant::QScheme::symmetric, .axis = 0, .group_size = 4};
  return quant::quantize_weight_only(graph, quant::QConfigMapping().set_global(quant::QConfig{.weight = int4}));
}

TEST_F(ManyThreads, OnAnIntegerMlpGetTheSameAnswers) {
  const nn::Graph graph = int8(mlp(), {64, 20});
  expect_same_answers(graph, {20}, 100'000 / kSlowdown);
  expect_same_first_answers(graph, {20});
}

TEST_F(ManyThreads, OnAnIntegerCnnGetTheSameAnswers) {
  const nn::Graph graph = int8(cnn(), {16, 3, 8, 8});
  expect_same_answers(graph, {3, 8, 8}, 10'000 / kSlowdown);
  expect_same_first_answers(graph, {3, 8, 8});
}

TEST_F(ManyThreads, OnAModelWithWeightsOfFewBitsGetTheSameAnswers) {
  const nn::Graph graph = weight_only(mlp());
  expect_same_answers(graph, {20}, 20'000 / kSlowdown);
  expect_same_first_answers(graph, {20});
}

TEST_F(ManyThreads, OnADynamicModelGetTheSameAnswers) {
  const nn::Graph rows = quant::quantize_dynamic(mlp()), images = quant::quantize_dynamic(cnn());
  expect_same_answers(rows, {20}, 10'000 / kSlowdown);
  expect_same_first_answers(rows, {20});
  expect_same_answers(images, {3, 8, 8}, 5'000 / kSlowdown);
  expect_same_first_answers(images, {3, 8, 8});
}

TEST_F(ManyThreads, OnAFloatModelGetTheSameAnswers) {
  expect_same_answers(cnn(), {3, 8, 8}, 5'000 / kSlowdown);
  expect_same_first_answers(cnn(), {3, 8, 8});
}

}  // namespace
}  // namespace thimble
