// Convolutions, normalizations and pools as layers.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/conv3d.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<float> values(const Tensor& t) { return t.data().to_vector<float>(); }

std::vector<std::string> tensor_names(const NamedTensors& tensors) {
  std::vector<std::string> all;
  for (const auto& [name, tensor] : tensors) all.push_back(name);
  return all;
}

// Expects that a copy made from type and attributes gives the same result.
void expect_copies(Module& layer, const Tensor& x) {
  SCOPED_TRACE(layer.type());
  layer.eval();
  const auto copy = copy_layer(layer);
  EXPECT_EQ(copy->attributes(), layer.attributes());
  EXPECT_EQ(values((*copy)(x)), values(layer(x)));
}

TEST(ConvLayers, AreCopiedByTypeAndAttributes) {
  Conv2d conv(4, 6, Pair(3, 2), {.stride = {1, 2}, .padding = {0, 1, 2, 3}, .dilation = 2, .groups = 2, .bias = false});
  expect_copies(conv, random({2, 4, 9, 9}));
  Conv1d conv1d(4, 6, 3, {.stride = 2, .padding = 1, .groups = 2});
  expect_copies(conv1d, random({2, 4, 9}));
  ConvTranspose2d transposed(4, 6, 3, {.stride = 2, .padding = 1, .output_padding = {1, 0}, .groups = 2});
  expect_copies(transposed, random({2, 4, 5, 5}));
  Conv3d conv3d(4, 6, {2, 3, 1},
                {.stride = {2, 1, 1},
                 .padding = {Triple(1, 0, 0), Triple(0, 2, 0)},
                 .dilation = {1, 2, 1},
                 .groups = 2,
                 .bias = false});
  expect_copies(conv3d, random({2, 4, 5, 6, 3}));
  ConvTranspose3d transposed3d(4, 6, 2, {.stride = {2, 1, 3}, .output_padding = {1, 0, 2}, .groups = 2});
  expect_copies(transposed3d, random({2, 4, 3, 2, 2}));
  BatchNorm3d bn3d(4);
  bn3d(random({2, 4, 2, 3, 3}));
  expect_copies(bn3d, random({2, 4, 2, 3, 3}));
  BatchNorm2d bn(4, {.eps = 0.1, .momentum = 0.2});
  bn(random({3, 4, 5, 5}));
  expect_copies(bn, random({2, 4, 5, 5}));
  BatchNorm1d bn1d(4, {.affine = false});
  bn1d(random({3, 4}));
  expect_copies(bn1d, random({2, 4, 5}));
  GroupNorm gn(2, 4, {.eps = 0.1});
  expect_copies(gn, random({2, 4, 5, 5}));
}

TEST(Conv2d, IsInitializedAsInPyTorch) {
  Conv2d conv(8, 16, Pair(3, 5), {.groups = 2});
  EXPECT_EQ(conv.weight.shape(), (Shape{16, 4, 3, 5}));
  const float bound = 1 / std::sqrt(4.0f * 3 * 5);
  float largest = 0;
  for (float w : values(conv.weight)) largest = std::max(largest, std::abs(w));
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.9f * bound);
  for (float b : values(conv.bias)) EXPECT_LE(std::abs(b), bound);
}

TEST(Conv2d, ConstructorsRefuseWhatDoesNotFit) {
  auto value_error = [](const std::string& text) { return ThrowsMessage<ValueError>(HasSubstr(text)); };
  EXPECT_THAT([] { Conv2d(0, 4, 3); }, value_error("Conv2d: in_channels 0 and out_channels 4 must be at least 1"));
  auto shape_error = [](const std::string& text) { return ThrowsMessage<ShapeError>(HasSubstr(text)); };
  EXPECT_THAT([] { Conv2d(3, 4, 3, {.groups = 2}); }, shape_error("Conv2d: groups 2 do not divide in_channels 3"));
  EXPECT_THAT([] { Conv2d(3, 4, 3, {.groups = 0}); }, value_error("Conv2d: groups 0"));
  EXPECT_THAT([] { Conv2d(3, 4, Pair(3, 0)); }, value_error("Conv2d: kernel_size 3x0"));
  EXPECT_THAT([] { Conv1d(3, 4, 0); }, value_error("Conv1d: kernel_size"));
  EXPECT_THAT([] { ConvTranspose2d(3, 4, 3, {.groups = 3}); }, shape_error("ConvTranspose2d: groups 3"));
  EXPECT_THAT([] { Conv1d(4, 6, 3, {.groups = 4}); }, shape_error("Conv1d: groups 4"));
  EXPECT_THAT([] { BatchNorm2d(0); }, value_error("BatchNorm2d: num_features 0"));
  EXPECT_THAT([] { BatchNorm1d(3, {.momentum = 2}); }, value_error("BatchNorm1d: momentum 2"));
  EXPECT_THAT([] { GroupNorm(3, 4); }, shape_error("GroupNorm: num_groups 3 do not divide num_channels 4"));
  EXPECT_THAT([] { Conv3d(0, 4, 3); }, value_error("Conv3d: in_channels 0 and out_channels 4 must be at least 1"));
  EXPECT_THAT([] { Conv3d(3, 4, {3, 0, 1}); }, value_error("Conv3d: kernel_size 3x0x1"));
  EXPECT_THAT([] { ConvTranspose3d(3, 4, 3, {.groups = 3}); }, shape_error("ConvTranspose3d: groups 3"));
  EXPECT_THROW(Conv3d(NDArray::ones({4, 2, 3, 3, 3}), NDArray::ones({5}), {}), ShapeError);
  EXPECT_THROW(Conv3d(NDArray::ones({4, 2, 3, 3}), {}, {}), ShapeError);
  EXPECT_THROW(Conv2d(NDArray::ones({4, 2, 3, 3}), NDArray::ones({5}), {}), ShapeError);
  EXPECT_THROW(Conv2d(NDArray::ones({4, 2, 3}), {}, {}), ShapeError);
  EXPECT_THROW(BatchNorm2d({}, {}, NDArray::ones({4}), NDArray::ones({5}), 1e-5, 0.1), ShapeError);
}

TEST(ConvLayers, MakersRefuseConfigurationsThatCannotBe) {
  for (const char* type : {"Conv2d", "ConvTranspose2d"}) {
    Conv2d conv(4, 6, 3);
    Attributes a = conv.attributes();
    a.set("output_padding", std::vector<int64_t>{0, 0});
    EXPECT_NO_THROW(make_layer(type, a));
    for (const auto& [key, value] :
         std::vector<std::pair<std::string, Attribute>>{{"in_channels", int64_t{0}},
                                                        {"groups", int64_t{0}},
                                                        {"groups", int64_t{4}},
                                                        {"kernel_size", std::vector<int64_t>{3}},
                                                        {"kernel_size", std::vector<int64_t>{3, -1}}}) {
      Attributes wrong = a;
      wrong.set(key, value);
      EXPECT_THROW(make_layer(type, wrong), FormatError) << key;
    }
  }
}

TEST(ConvLayers, MakersRefuseConfigurationsOfVolumesThatCannotBe) {
  for (const char* type : {"Conv3d", "ConvTranspose3d"}) {
    Attributes a = Conv3d(4, 6, 3).attributes();
    a.set("output_padding", std::vector<int64_t>{0, 0, 0});
    EXPECT_NO_THROW(make_layer(type, a));
    for (const auto& [key, value] :
         std::vector<std::pair<std::string, Attribute>>{{"out_channels", int64_t{0}},
                                                        {"groups", int64_t{0}},
                                                        {"groups", int64_t{4}},
                                                        {"kernel_size", std::vector<int64_t>{3, 3}},
                                                        {"padding", std::vector<int64_t>{1, 1, 1, 1}},
                                                        {"kernel_size", std::vector<int64_t>{3, 0, 1}}}) {
      Attributes wrong = a;
      wrong.set(key, value);
      EXPECT_THROW(make_layer(type, wrong), FormatError) << key;
    }
  }
}

TEST(ConvLayers, OfVolumesTraceAndRunOnTheExecutor) {
  struct Net : Module {
    Submodule<Conv3d> conv{this, "conv", 2, 6, 3, {.padding = 1, .bias = false}};
    Submodule<BatchNorm3d> bn{this, "bn", 6};
    Submodule<MaxPool3d> pool{this, "pool", Triple(1, 2, 2), {.padding = {0, 1, 0}}};
    Submodule<Conv3d> depthwise{this, "depthwise", 6, 6, Triple(3, 1, 3), {.stride = {2, 1, 1}, .groups = 6}};
    Submodule<ConvTranspose3d> up{this, "up", 6, 4, 2, {.stride = 2}};
    Submodule<AvgPool3d> average{this, "average", 2, {.stride = 1}};
    Submodule<AdaptiveAvgPool3d> adaptive{this, "adaptive", Triple(1, 2, 1)};
    Submodule<Linear> fc{this, "fc", 8, 3};
    Tensor forward(const Tensor& x) override {
      return fc(flatten(adaptive(average(up(depthwise(pool(relu(bn(conv(x)))))))), 1));
    }
  } net;
  net(random({4, 2, 6, 6, 8}));
  Graph graph = trace(net, random({2, 2, 6, 6, 8}));
  EXPECT_TRUE(graph.is_layer(graph.find("conv"), "Conv3d"));
  EXPECT_TRUE(graph.is_op(graph.find("pool"), "max_pool3d"));
  net.eval();
  graph.eval();
  const Tensor x = random({5, 2, 6, 6, 8}, 9);
  const auto expected = values(net(x)), got = values(graph(x));
  EXPECT_EQ(values(graph.run_all(std::vector<Tensor>{x}).back()), expected);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6);
  // A batch is its samples.
  for (int64_t n = 0; n < 5; ++n) {
    const auto alone = values(graph(Tensor(x.data().slice(0, n, n + 1))));
    EXPECT_EQ(alone, std::vector<float>(got.begin() + 3 * n, got.begin() + 3 * (n + 1))) << n;
  }
}

TEST(ConvLayers, ErrorsNameTheLayer) {
  struct Net : Module {
    Submodule<Conv2d> conv{this, "conv", 3, 8, 3, {.padding = 1}};
    Submodule<BatchNorm2d> bn{this, "bn", 8, {.eps = 1e-3}};
    Tensor forward(const Tensor& x) override { return bn(conv(x)); }
  } net;
  EXPECT_EQ(net.bn->eps(), 1e-3);
  EXPECT_THAT(
      [&] {
        net(random({2, 4, 5, 5}));
      },
      ThrowsMessage<ShapeError>(HasSubstr("conv: conv2d: weight [8,3,3,3]")));
  EXPECT_THAT(
      [&] {
        net(random({1, 3, 1, 1}));
      },
      ThrowsMessage<ValueError>(HasSubstr("bn: batch_norm: expected more")));
  EXPECT_THAT([&] { net.bn(random({1, 8})); }, ThrowsMessage<ShapeError>(HasSubstr("bn: BatchNorm2d: takes no input")));
}

TEST(BatchNorm2d, KeepsRunningStatisticsAsPyTorchNamesThem) {
  BatchNorm2d bn(3);
  EXPECT_THAT(tensor_names(bn.state()),
              ElementsAre("weight", "bias", "running_mean", "running_var", "num_batches_tracked"));
  const Tensor x = random({4, 3, 5, 5});
  bn(x);
  bn(x);
  EXPECT_EQ(bn.num_batches_tracked.item<int64_t>(), 2);
  EXPECT_EQ(bn.num_batches_tracked.dtype(), DType::int64);
  const auto batch_mean = values(mean(x, {0, 2, 3})), batch_var = values(var(x, {0, 2, 3}));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(values(bn.running_mean)[i], 0.19f * batch_mean[i], 1e-6);
    EXPECT_NEAR(values(bn.running_var)[i], 0.81f + 0.19f * batch_var[i], 1e-5);
  }
  bn.eval();
  const auto before = values(bn.running_mean);
  bn(x);
  EXPECT_EQ(values(bn.running_mean), before);
  EXPECT_EQ(bn.num_batches_tracked.item<int64_t>(), 2);
}

TEST(BatchNorm2d, RefusesACountThatTrainingCannotGoOnFrom) {
  BatchNorm2d bn(1);
  auto state = bn.state();
  for (const int64_t count : {int64_t{-1}, int64_t{1} << 53, std::numeric_limits<int64_t>::max()}) {
    NamedArrays arrays;
    for (const auto& [name, tensor] : state) arrays.emplace_back(name, tensor.data());
    arrays.back().second = NDArray::from_vector<int64_t>({count}, Shape{});
    arrays.front().second = NDArray::full({1}, 7);
    EXPECT_THAT([&] { bn.load_state(arrays); }, ThrowsMessage<ValueError>(HasSubstr(str("tracked is ", count))));
    EXPECT_EQ(values(bn.weight), std::vector<float>{1});
    EXPECT_EQ(bn.num_batches_tracked.item<int64_t>(), 0);
  }
}

TEST(ConvBNReLU, IsReluOfBatchNormOfConv) {
  ConvBNReLU block(3, 5, 3, {.padding = 1, .bias = false});
  EXPECT_THAT(tensor_names(block.named_parameters()), ElementsAre("conv.weight", "bn.weight", "bn.bias"));
  const auto conv = copy_layer(block.conv()), bn = copy_layer(block.bn());
  const Tensor x = random({4, 3, 6, 6});
  for (bool training : {true, false}) {
    block.train(training);
    bn->train(training);
    const Tensor y = block(x), expected = relu((*bn)((*conv)(x)));
    ASSERT_EQ(y.shape(), expected.shape());
    for (size_t i = 0; i < values(y).size(); i += 7) EXPECT_NEAR(values(y)[i], values(expected)[i], 1e-6);
    EXPECT_EQ(block.bn().num_batches_tracked.item<int64_t>(), 1);
  }
}

TEST(ConvBNReLU, TracesToItsParts) {
  struct Net : Module {
    Submodule<ConvBNReLU> block{this, "block", 1, 4, 3, {.padding = 1}};
    Submodule<MaxPool2d> pool{this, "pool", 2};
    Submodule<AvgPool2d> average{this, "average", 3, {.stride = 1, .padding = 1}};
    Submodule<UpsampleNearest2d> up{this, "up", 2};
    Submodule<AdaptiveAvgPool2d> adaptive{this, "adaptive", 1};
    Submodule<Linear> fc{this, "fc", 4, 10};
    Tensor forward(const Tensor& x) override { return fc(flatten(adaptive(up(average(pool(block(x))))), 1)); }
  } net;
  net(random({4, 1, 8, 8}));
  Graph graph = trace(net, random({2, 1, 8, 8}));
  std::vector<std::string> nodes;
  for (const Node* node : graph.nodes()) nodes.push_back(node->name);
  EXPECT_THAT(nodes, ElementsAre("input", "block.conv", "block.bn", "block.relu", "pool", "average", "up", "adaptive",
                                 "flatten", "fc"));
  EXPECT_TRUE(graph.is_layer(graph.find("block.bn"), "BatchNorm2d"));
  EXPECT_TRUE(graph.is_op(graph.find("pool"), "max_pool2d"));
  EXPECT_EQ(net.block->bn().num_batches_tracked.item<int64_t>(), 1) << "tracing has side effects";
  net.eval();
  graph.eval();
  const Tensor x = random({3, 1, 8, 8}, 9);
  EXPECT_EQ(values(graph.run_all(std::vector<Tensor>{x}).back()), values(net(x)));
}

TEST(ConvLayers, ATrainedNetworkLearnsToTellStripesApart) {
  manual_seed(1);
  struct Net : Module {
    Submodule<ConvBNReLU> first{this, "first", 1, 4, 3, {.padding = 1}};
    Submodule<ConvBNReLU> second{this, "second", 4, 4, 3, {.padding = 1}};
    Submodule<Linear> fc{this, "fc", 4, 2};
    Tensor forward(const Tensor& x) override {
      const Tensor h = max_pool2d(first(x), 2);
      return fc(flatten(global_avg_pool2d(h + second(h)), 1));
    }
  } net;
  // Horizontal stripes, and vertical ones, with noise.
  NDArray images = NDArray::zeros({32, 1, 8, 8}), labels({32}, DType::int64);
  Generator rng(3);
  for (int64_t n = 0; n < 32; ++n) {
    labels.data<int64_t>()[n] = n % 2;
    for (int64_t i = 0; i < 64; ++i)
      images.data<float>()[n * 64 + i] =
          static_cast<float>((n % 2 ? i / 8 : i % 8) % 2) + 0.3f * static_cast<float>(rng.normal());
  }
  optim::Adam adam(net.parameters(), {.lr = 1e-2});
  float first_loss = 0, last_loss = 0;
  for (int step = 0; step < 60; ++step) {
    const Tensor loss = cross_entropy(net(images), labels);
    adam.zero_grad();
    loss.backward();
    adam.step();
    last_loss = loss.item<float>();
    if (step == 0) first_loss = last_loss;
  }
  EXPECT_LT(last_loss, 0.1f * first_loss);
  net.eval();
  EXPECT_EQ(argmax(net(images).data()).to_vector<int64_t>(), labels.to_vector<int64_t>());
}

}  // namespace
}  // namespace thimble::nn
