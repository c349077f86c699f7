// Values that lie in an order of their own on the executor, and the steps that read and make them.
#include <algorithm>
#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include "tests/nn/op_cases.h"
#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/step_list.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/conv.h>

namespace thimble::nn {
namespace {

StepList steps_for(const Graph& graph, const Shape& shape) {
  SharedState shared;
  return make_steps(graph, {ValueInfo{shape}}, shared);
}

NDArray answer(Graph& graph, const Tensor& x) {
  const NoGrad guard;
  return graph(x).data().contiguous();
}

void expect_near(const NDArray& got, const NDArray& expected, double tolerance) {
  ASSERT_EQ(got.shape(), expected.shape());
  const auto g = got.to_vector<double>(), e = expected.to_vector<double>();
  for (size_t i = 0; i < e.size(); ++i) ASSERT_NEAR(g[i], e[i], tolerance * (1 + std::abs(e[i]))) << "element " << i;
}

void expect_samples_alone_give_the_same(Graph& graph, const Tensor& x) {
  const NDArray all = answer(graph, x);
  for (int64_t i = 0; i < x.shape()[0]; ++i)
    ASSERT_EQ(answer(graph, x.data().slice(0, i, i + 1)).to_vector<float>(), all.slice(0, i, i + 1).to_vector<float>())
        << "sample " << i;
}

// Multi-head attention over x [n, tokens, width].
Tensor attention(const Tensor& x, int64_t heads) {
  const int64_t tokens = x.shape()[1], width = x.shape()[2] / 3;
  const auto part = [&](int64_t i, const Shape& axes) {
    return permute(reshape(slice(x, 2, i * width, (i + 1) * width), {-1, tokens, heads, width / heads}), axes);
  };
  const Tensor weights = softmax(matmul(part(0, {0, 2, 1, 3}), part(1, {0, 2, 3, 1})) * 0.3, -1);
  return reshape(permute(matmul(weights, part(2, {0, 2, 1, 3})), {0, 2, 1, 3}), {-1, tokens, width});
}

TEST(Views, AttentionIsTwoProductsAndWhatLiesBetween) {
  OpModel model([](const Tensor& x) { return attention(x, 3); });
  const Graph graph = trace(model.eval(), random({2, 7, 54}));
  EXPECT_EQ(steps_for(graph, {2, 7, 54}).steps.size(), 4u);  // product, scale, softmax, product
}

TEST(Views, AttentionComputesWhatItsOpsDo) {
  const int threads = num_threads();
  for (const int64_t tokens : {1, 5, 33, 130})
    for (const int64_t heads : {1, 2, 5}) {
      SCOPED_TRACE(str(tokens, " tokens, ", heads, " heads"));
      OpModel model([&](const Tensor& x) { return attention(x, heads); });
      const Tensor x = random({3, tokens, 30 * heads}, static_cast<uint64_t>(tokens + heads));
      Graph graph = trace(model.eval(), x.data().slice(0, 0, 1));
      set_num_threads(1);
      const NDArray alone = answer(graph, x);
      expect_near(alone, model(x).data(), 1e-5);
      set_num_threads(3);
      EXPECT_EQ(answer(graph, x).to_vector<float>(), alone.to_vector<float>());
      expect_samples_alone_give_the_same(graph, x);
    }
  set_num_threads(threads);
}

// What reads a view, last: those that know how it lies, and those that want it in the usual order.
Tensor read(const Tensor& x, const Tensor& other, uint64_t how) {
  switch (how) {
    case 0:
      return x * 2.0 - 1.0;
    case 1:
      return softmax(x, -1);
    case 2:
      return softmax(x, 1);
    case 3:
      return matmul(x, transpose(x, -2, -1));
    case 4:
      return concat({x, relu(x)}, 1);
    case 5:
      return mean(x, {-1}) + 1.0;
    case 6:
      return x * hardswish(x) + x;
    case 7:
      return flatten(x, 1);
    case 8:
      return flatten(neg(x), 1) + flatten(x, 1);
    default:
      return sigmoid(x) * other;
  }
}

TEST(Views, RandomChainsComputeWhatTheirOpsDo) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    Generator rng(seed);
    const auto below = [&](int64_t n) { return static_cast<int64_t>(rng.next_uint32() % static_cast<uint32_t>(n)); };
    Shape sample;
    for (int64_t i = 2 + below(3); i > 0; --i) sample.push_back(1 + below(5));
    std::vector<std::function<Tensor(const Tensor&)>> steps;
    for (int64_t count = 1 + below(4); count > 0; --count) {
      const int64_t kind = below(5), number = below(1000);
      steps.push_back([=](const Tensor& x) {
        const int ndim = x.shape().ndim();
        const int64_t a = 1 + number % (ndim - 1), b = 1 + number / 7 % (ndim - 1),
                      size = x.shape()[static_cast<int>(a)];
        if (kind == 0) return transpose(x, a, b);
        if (kind == 1) return slice(x, a, number % 3 % size, size, 1 + number % 2);
        if (kind == 2 && ndim < 5) return unsqueeze(x, a);
        if (kind == 3) return flatten(x, std::min(a, b), std::max(a, b));
        if (kind == 4 && ndim < 5) {
          Shape shape = x.shape();
          shape[0] = -1;
          shape.push_back(1);
          std::swap(shape[static_cast<int>(a)], shape[ndim]);
          return reshape(x, shape);
        }
        return abs(x);
      });
    }
    const auto how = static_cast<uint64_t>(below(10));
    OpModel model([=](const Tensor& x) {
      Tensor h = x;
      for (const auto& step : steps) h = step(h);
      if (h.shape().ndim() == 2) h = unsqueeze(h, 2);
      return read(h, NDArray::full({1}, 0.75), how);
    });
    Shape shape = sample;
    shape.insert(0, 4);
    const Tensor x = random(shape, seed);
    Graph graph = trace(model.eval(), x.data().slice(0, 0, 1));
    SCOPED_TRACE(str("seed ", seed, "\n", graph.table()));
    expect_near(answer(graph, x), model(x).data(), 1e-5);
    expect_samples_alone_give_the_same(graph, x);
    if (HasFailure()) break;
  }
}

TEST(Views, AnOperandThatIsAViewAndAConstantKeepTheirValues) {
  const Tensor weight = random({4, 6}, 1);
  OpModel fitting([&](const Tensor& x) {
    const Tensor part = slice(x, 1, 2, 6);
    return matmul(relu(part) * part, weight) + x + slice(weight, 0, 1, 2);
  });
  const Tensor x = random({4, 6}, 2);
  Graph graph = trace(fitting.eval(), x.data().slice(0, 0, 1));
  expect_near(answer(graph, x), fitting(x).data(), 1e-5);
}

// Each op's batch, where it may be divided, is its samples. Those that may not are named.
TEST(Views, WhatMayBeDividedComputesEachSampleByItself) {
  std::vector<std::string> undivided;
  for (const OpCase& c : op_cases()) {
    SCOPED_TRACE(c.name);
    OpModel model(c.function);
    Shape one = c.sample, many = c.sample;
    one.insert(0, 1);
    many.insert(0, 6);  // as many as there are features
    if (c.name == "batch_norm_train") one[0] = 2;
    Graph graph = trace(model.eval(), positive(one, 6));
    const Tensor x = positive(many, 7);
    if (steps_for(graph, many).per_sample)
      expect_samples_alone_give_the_same(graph, x);
    else
      undivided.push_back(c.name);
  }
  // Weights that are constants of the graph, not of a layer, sums over the batch, and ops that nobody divides.
  const std::vector<std::string> expected{"where",
                                          "greater",
                                          "greater_equal",
                                          "equal",
                                          "matmul",
                                          "linear",
                                          "shape",
                                          "index_select",
                                          "conv2d",
                                          "conv1d",
                                          "conv_transpose2d",
                                          "conv3d",
                                          "conv_transpose3d",
                                          "max_pool3d_indices",
                                          "batch_norm",
                                          "batch_norm_train",
                                          "grid_sample",
                                          "max_pool2d_indices",
                                          "max_unpool2d",
                                          "lstm",
                                          "gru",
                                          "rnn",
                                          "remainder",
                                          "fmod",
                                          "bitwise_and",
                                          "bitwise_or",
                                          "bitwise_xor",
                                          "type_as",
                                          "topk_indices",
                                          "take",
                                          "one_hot",
                                          "tile",
                                          "triu",
                                          "tril",
                                          "eye_like",
                                          "einsum",
                                          "mse_loss"};
  EXPECT_EQ(undivided, expected);
}

struct UpNet : Module {
  Submodule<ConvTranspose2d> up;
  Submodule<BatchNorm2d> norm{this, "norm", 5};
  Submodule<Conv2d> side{this, "side", 3, 5, 1};
  UpNet(Pair kernel, bool bias) : up(this, "up", 3, 5, kernel, {.stride = kernel, .bias = bias}) {}
  Tensor forward(const Tensor& x) override { return relu(norm(up(x)) + upsample_nearest2d(side(x), up_by)); }
  Pair up_by = 1;
};

// What a step writes in the place of an operand, another operand may be a view of, or lie in another order.
TEST(Views, OperandsOfOneMemoryAreNotWrittenOver) {
  const Tensor position = random({4, 6, 5}, 3), number = random({1, 1, 1, 1}, 4);
  const struct {
    const char* name;
    Shape sample;
    std::function<Tensor(const Tensor&)> function;
  } cases[] = {
      {"a slice of itself",
       {3, 4},
       [](const Tensor& x) {
         const Tensor h = exp(x);
         return neg(h - slice(h, 1, 0, 1));
       }},
      {"the first sample",
       {3, 4},
       [](const Tensor& x) {
         const Tensor h = exp(x);
         return neg(h - slice(h, 0, 0, 1));
       }},
      {"the first column of an image",
       {4, 6, 5},
       [](const Tensor& x) {
         const Tensor h = exp(x);
         return neg(h * slice(h, 3, 0, 1));
       }},
      {"an image and what has no batch", {4, 6, 5}, [=](const Tensor& x) { return exp(neg(x) + tanh(position)); }},
      {"a view and a number of more dimensions",
       {4, 3},
       [=](const Tensor& x) {
         return permute(x, {0, 2, 1}) * number;
       }},
      {"twice the same",
       {3, 4},
       [](const Tensor& x) {
         const Tensor h = exp(x);
         return neg(h * h);
       }},
  };
  for (const auto& c : cases)
    for (const int64_t batch : {1, 2, 5}) {
      SCOPED_TRACE(str(c.name, ", batch ", batch));
      Shape shape = c.sample;
      shape.insert(0, batch);
      OpModel model(c.function);
      const Tensor x = random(shape, 9);
      Graph graph = trace(model.eval(), random(shape, 8));
      expect_near(answer(graph, x), model(x).data(), 1e-5);
    }
}

TEST(Views, AScalarMayBeReshaped) {
  OpModel model([](const Tensor& x) { return reshape(sum(x), {}); });
  Graph graph = trace(model.eval(), random({2, 3}));
  const Tensor x = random({2, 3}, 4);
  expect_near(answer(graph, x), model(x).data(), 1e-6);
}

TEST(Views, TransposedConvolutionsWithoutOverlapAbsorbWhatFollows) {
  for (const Pair kernel : {Pair(2), Pair(1), Pair(3, 2)})
    for (const bool bias : {true, false})
      for (const int64_t size : {1, 4, 9}) {
        SCOPED_TRACE(str(kernel.height, 'x', kernel.width, ", size ", size));
        UpNet net(kernel, bias);
        net.up_by = kernel;
        const Tensor mean = random({5}, 3);
        net.norm->running_mean.set_data(mean.data());
        const Tensor x = random({3, 3, size, size + 1}, 4);
        Graph graph = trace(net.eval(), x.data().slice(0, 0, 1));
        EXPECT_EQ(steps_for(graph, x.shape()).steps.size(), 3u);
        expect_near(answer(graph, x), net(x).data(), 1e-5);
        expect_samples_alone_give_the_same(graph, x);
      }
}

Tensor channel_shuffle(const Tensor& x, int64_t groups) {
  const Shape& s = x.shape();
  const Tensor grouped = reshape(x, {-1, groups, s[1] / groups, s[2], s[3]});
  return reshape(transpose(grouped, 1, 2), {-1, s[1], s[2], s[3]});
}

// Each unit of such a network is its layers, a shuffle, and a copy of what a layer reads: half of the channels goes
// from one concatenation to the next without being copied in between.
TEST(Views, ShuffledChannelsAreImages) {
  const Tensor x = random({6, 8, 5, 4}, 3);
  for (const DType dtype : {DType::float32, DType::uint8}) {
    OpModel model([](const Tensor& image) {
      Tensor h = image;
      for (int i = 0; i < 2; ++i) {
        const Tensor left = slice(h, 1, 0, 4), right = slice(h, 1, 4, 8);
        h = channel_shuffle(concat({left, max_pool2d(right, 1)}, 1), i == 0 ? 2 : 4);
      }
      return h;
    });
    const NDArray image = mul(abs(x), NDArray::full({}, 50.0)).data().to(dtype);
    Graph graph = trace(model.eval(), image.slice(0, 0, 1));
    SharedState shared;
    const StepList list = make_steps(graph, {ValueInfo{image.shape(), dtype}}, shared);
    EXPECT_EQ(list.steps.size(), 8u);  // twice: a copy for the pool, the pool, a concatenation, a shuffle
    EXPECT_TRUE(list.per_sample);
    EXPECT_TRUE(list.values[list.outputs[0].value].info.lies_as_usual());
    const NDArray y = answer(graph, Tensor(image));
    EXPECT_EQ(y.to_vector<double>(), model(Tensor(image)).data().to_vector<double>());
    for (int64_t i = 0; i < 6; ++i)
      EXPECT_EQ(answer(graph, Tensor(image.slice(0, i, i + 1))).to_vector<double>(),
                y.slice(0, i, i + 1).contiguous().to_vector<double>());
  }
}

// Straight to where their values lie, in images and in whatever else, of floats and of integers.
TEST(Views, PaddedRepeatedAndNormalizedValues) {
  const struct {
    const char* name;
    Shape sample;
    std::function<Tensor(const Tensor&)> function;
    bool of_integers;
  } cases[] = {
      {"pad",
       {3, 4, 5},
       [](const Tensor& x) {
         return pad(x, {1, 2, 0, 3}, 7);
       },
       true},
      {"pad channels",
       {3, 4, 5},
       [](const Tensor& x) {
         return pad(x, {0, 0, 0, 0, 2, 1});
       },
       true},
      {"pad and crop",
       {3, 4, 5},
       [](const Tensor& x) {
         return pad(x, {-1, 2, 1, -2});
       },
       true},
      {"pad rows",
       {6},
       [](const Tensor& x) {
         return pad(x, {2, 1}, 3);
       },
       true},
      {"pad a slice",
       {3, 4, 5},
       [](const Tensor& x) {
         return pad(slice(x, 3, 1, 4), {1, 1, 1, 1});
       },
       true},
      {"pixel_shuffle, depth first", {8, 4, 5}, [](const Tensor& x) { return pixel_shuffle(x, 2, true); }, true},
      {"pixel_shuffle to one channel", {9, 4, 5}, [](const Tensor& x) { return pixel_shuffle(x, 3); }, true},
      {"pixel_shuffle", {12, 4, 5}, [](const Tensor& x) { return pixel_shuffle(x, 2); }, true},
      {"upsample_nearest2d",
       {3, 4, 5},
       [](const Tensor& x) {
         return upsample_nearest2d(x, {2, 3});
       },
       true},
      {"softmax of rows", {3, 7}, [](const Tensor& x) { return softmax(x, -1); }, false},
      {"softmax of channels", {7, 3, 4}, [](const Tensor& x) { return softmax(x, 1); }, false},
      {"softmax of columns", {7, 3, 4}, [](const Tensor& x) { return softmax(x, 3); }, false},
      {"log_softmax of a slice", {9}, [](const Tensor& x) { return log_softmax(slice(x, 1, 2, 8), 1); }, false},
  };
  for (const auto& c : cases)
    for (const DType dtype : {DType::float32, DType::uint8}) {
      if (dtype == DType::uint8 && !c.of_integers) continue;
      SCOPED_TRACE(str(c.name, ", ", dtype));
      Shape shape = c.sample;
      shape.insert(0, 4);
      OpModel model(c.function);
      const NDArray x = mul(positive(shape, 9), NDArray::full({}, 20.0)).data().to(dtype);
      Graph graph = trace(model.eval(), x.slice(0, 0, 1));
      SharedState shared;
      EXPECT_TRUE(make_steps(graph, {ValueInfo{shape, dtype}}, shared).per_sample);
      expect_near(answer(graph, Tensor(x)), model(Tensor(x)).data().contiguous(), 1e-6);
    }
}

TEST(Views, ConcatenationsOfPartsOfOthers) {
  for (const int64_t axis : {0, 1, 2, 3}) {
    SCOPED_TRACE(axis);
    OpModel model([&](const Tensor& x) {
      const Tensor h = exp(x), some = slice(slice(h, 1, 1, 3), 2, 0, 3);
      return concat(
          {some, slice(slice(h, 1, 2, 4), 2, 1, 4), neg(some), slice(some, 3, 2, -4, -1), transpose(some, 2, 3)}, axis);
    });
    const Tensor x = random({2, 5, 4, 3}, 8);
    Graph graph = trace(model.eval(), x.data().slice(0, 0, axis == 0 ? 2 : 1));
    EXPECT_EQ(answer(graph, x).to_vector<float>(), model(x).data().to_vector<float>());
  }
}

TEST(Views, ConcatenationsAlongAnyAxis) {
  for (const int64_t axis : {0, 1, 2, 3, -1}) {
    SCOPED_TRACE(axis);
    OpModel model([&](const Tensor& x) { return concat({x, relu(x), slice(x, 1, 0, 3) * 2.0}, axis); });
    const Tensor x = random({2, 3, 4, 5}, 8);
    Graph graph = trace(model.eval(), x.data().slice(0, 0, axis == 0 ? 2 : 1));
    EXPECT_EQ(answer(graph, x).to_vector<float>(), model(x).data().to_vector<float>());
    EXPECT_EQ(steps_for(graph, x.shape()).per_sample, axis != 0);
  }
}

TEST(Views, MasksHaveAStepOfTheirOwn) {
  ValueInfo mask{{4, 4}, DType::bool_}, number{Shape{}};
  mask.is_constant = number.is_constant = true;
  ValueInfo scores{{2, 4, 4}};
  scores.strides = {16, 1, 4};  // where they do not lie as usual, the op could not write in place
  const StepFactory* factory = inference_step_factory("where");
  ASSERT_NE(factory, nullptr);
  EXPECT_NE((*factory)({}, std::array{mask, scores, number}), nullptr);
  EXPECT_NE((*factory)({}, std::array{mask, number, scores}), nullptr);
}

}  // namespace
}  // namespace thimble::nn
