// Models of every layer of the convolutional family, saved and loaded.
#include <gtest/gtest.h>

#include "tests/serialization/round_trip.h"
#include <thimble/core/ops.h>
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
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/quantize.h>

namespace thimble {
namespace {

class ConvCheckpoint : public CheckpointTest {
 protected:
  int count(const nn::Graph& graph, std::string_view type) const {
    int found = 0;
    for (const nn::Node* node : graph.nodes()) found += graph.is_layer(node, type) || graph.is_op(node, type);
    return found;
  }

  // As a float graph, fused, and as an integer one. Returns the last.
  nn::Graph expect_round_trips(nn::Module& model, const Shape& shape) {
    const Tensor x = random_input(shape);
    model(x);  // so that normalizations have statistics of their own
    nn::Graph graph = nn::trace(model.eval(), x);
    nn::Graph loaded = expect_round_trip(graph, x);
    EXPECT_EQ(loaded.run_all(std::vector<Tensor>{x}).back().data().to_vector<float>(),
              model(x).data().to_vector<float>());
    nn::Graph fused = quant::fuse_conv_bn_relu(graph);
    expect_round_trip(fused, x);
    nn::Graph int8 = quant::quantize_model(graph, [&](nn::Graph& prepared) { prepared(x); });
    expect_round_trip(int8, x);
    Shape one = shape;
    one[0] = 1;
    return expect_round_trip(int8, random_input(one, 9));
  }
};

// With numbers that tell every option from every other.
TEST_F(ConvCheckpoint, Conv2dComesBackWithEveryOption) {
  using Options = nn::Conv2d::Options;
  manual_seed(1);
  nn::Sequential model;
  model.emplace<nn::Conv2d>(4, 6, Pair(3, 2), Options{.stride = Pair(2, 1), .padding = Padding(1, 2, 3, 0)});
  model.emplace<nn::Conv2d>(6, 12, Pair(2, 3), Options{.dilation = Pair(1, 2), .groups = 3, .bias = false});
  model.emplace<nn::ReLU>().emplace<nn::Conv2d>(12, 12, 3, Options{.padding = 1, .groups = 12});
  model.emplace<nn::Conv2d>(12, 5, 1);
  const nn::Graph int8 = expect_round_trips(model, {3, 4, 11, 12});
  EXPECT_EQ(count(int8, "QuantizedConv2d"), 4);
}

TEST_F(ConvCheckpoint, BlocksResidualsAndPoolsComeBack) {
  manual_seed(2);
  struct Net : nn::Module {
    nn::Submodule<nn::ConvBNReLU> a{this, "a", 3, 8, 3, nn::Conv2d::Options{.padding = 1}};
    nn::Submodule<nn::ConvBNReLU> b{this, "b", 8, 8, 3, nn::Conv2d::Options{.padding = 1, .bias = false}};
    nn::Submodule<nn::MaxPool2d> max{this, "max", 3, nn::MaxPool2d::Options{.stride = 2, .padding = 1}};
    nn::Submodule<nn::AvgPool2d> average{this, "average", 2, nn::AvgPool2d::Options{.stride = 1}};
    nn::Submodule<nn::UpsampleNearest2d> up{this, "up", Pair(2, 3)};
    nn::Submodule<nn::Conv2d> c{this, "c", 8, 8, 1}, d{this, "d", 8, 4, 1}, e{this, "e", 12, 8, 1};
    nn::Submodule<nn::AdaptiveAvgPool2d> adaptive{this, "adaptive", Pair(2, 1)};
    nn::Submodule<nn::Linear> fc{this, "fc", 16, 5};
    Tensor forward(const Tensor& x) override {
      Tensor h = max(a(x));
      h = c(up(average(relu(h + b(h)))));
      h = e(concat({relu(h), d(h)}, 1));
      return fc(flatten(adaptive(h), 1));
    }
  } model;
  const nn::Graph int8 = expect_round_trips(model, {4, 3, 12, 10});
  for (const auto& [type, found] :
       {std::pair("QuantizedConv2d", 5), std::pair("QuantizedAdd", 1), std::pair("QuantizedClamp", 1),
        std::pair("QuantizedLinear", 1), std::pair("Quantize", 1), std::pair("Dequantize", 0),
        std::pair("max_pool2d", 1), std::pair("avg_pool2d", 1), std::pair("upsample_nearest2d", 1)})
    EXPECT_EQ(count(int8, type), found) << type << '\n' << int8.table();
}

TEST_F(ConvCheckpoint, LayersThatStayFloatComeBackToo) {
  manual_seed(3);
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> first{this, "first", 3, 4, 3};
    nn::Submodule<nn::GroupNorm> group_norm{this, "group_norm", 2, 4, nn::GroupNorm::Options{.eps = 1e-3}};
    nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 4, nn::BatchNorm2d::Options{.eps = 1e-2, .affine = false}};
    nn::Submodule<nn::ConvTranspose2d> back{this,
                                            "back",
                                            4,
                                            6,
                                            Pair(3, 2),
                                            nn::ConvTranspose2d::Options{.stride = Pair(2, 3),
                                                                         .padding = Padding(1, 0, 2, 1),
                                                                         .output_padding = Pair(1, 0),
                                                                         .dilation = Pair(1, 2),
                                                                         .groups = 2}};
    nn::Submodule<nn::Conv1d> along{
        this, "along", 6, 4, 3, nn::Conv1d::Options{.stride = 2, .padding = 1, .dilation = 2, .groups = 2}};
    nn::Submodule<nn::BatchNorm1d> bn1{this, "bn1", 4, nn::BatchNorm1d::Options{.momentum = 0.25}};
    nn::Submodule<nn::Conv2d> last{this, "last", 4, 3, Pair(1, 3)};
    Tensor forward(const Tensor& x) override {
      const Tensor h = back(bn(group_norm(local_response_norm(first(x), 3))));
      return last(unsqueeze(bn1(along(flatten(h, 2))), 2));
    }
  } model;
  const nn::Graph int8 = expect_round_trips(model, {2, 3, 7, 6});
  EXPECT_EQ(count(int8, "QuantizedConv2d"), 3);  // the one along a line is one of images
  for (const char* kept : {"GroupNorm", "BatchNorm2d", "ConvTranspose2d"})
    EXPECT_EQ(count(int8, kept), 1) << kept << '\n' << int8.table();
}

TEST_F(ConvCheckpoint, LayersOfVolumesComeBack) {
  manual_seed(6);
  struct Net : nn::Module {
    nn::Submodule<nn::Conv3d> first{
        this,
        "first",
        2,
        4,
        Triple(2, 3, 1),
        nn::Conv3d::Options{
            .stride = {1, 2, 1}, .padding = {Triple(1, 0, 0), Triple(0, 1, 0)}, .dilation = {1, 1, 2}, .groups = 2}};
    nn::Submodule<nn::BatchNorm3d> bn{this, "bn", 4};
    nn::Submodule<nn::MaxPool3d> max{this, "max", 2, nn::MaxPool3d::Options{.stride = Triple(1, 2, 1), .padding = 1}};
    nn::Submodule<nn::ConvTranspose3d> back{
        this, "back", 4, 6, 2, nn::ConvTranspose3d::Options{.stride = {1, 2, 3}, .output_padding = {0, 1, 2}}};
    nn::Submodule<nn::AvgPool3d> average{this, "average", Triple(1, 2, 2),
                                         nn::AvgPool3d::Options{.count_include_pad = false}};
    nn::Submodule<nn::AdaptiveAvgPool3d> adaptive{this, "adaptive", Triple(2, 1, 2)};
    nn::Submodule<nn::Linear> fc{this, "fc", 24, 16}, last{this, "last", 4, 3};
    Tensor forward(const Tensor& x) override {
      const Tensor h = fc(flatten(adaptive(average(back(max(relu(bn(first(x))))))), 1));
      return last(flatten(max_pool3d(reshape(h, {-1, 2, 2, 2, 2}), {2, 1, 2}), 1));
    }
  } model;
  const nn::Graph int8 = expect_round_trips(model, {3, 2, 4, 5, 4});
  for (const auto& [type, found] :
       {std::pair("Conv3d", 1), std::pair("BatchNorm3d", 0), std::pair("ConvTranspose3d", 1),
        std::pair("QuantizedLinear", 2), std::pair("Quantize", 1), std::pair("Dequantize", 0)})
    EXPECT_EQ(count(int8, type), found) << type << '\n' << int8.table();
}

// Of any geometry, and so are its gradients.
TEST_F(ConvCheckpoint, RandomGeometriesComeBack) {
  Generator rng(5);
  auto up_to = [&](int64_t n) { return static_cast<int64_t>(rng.below(static_cast<uint64_t>(n))) + 1; };
  auto below = [&](int64_t n) { return up_to(n) - 1; };
  auto pair = [&](int64_t n) { return Pair(up_to(n), up_to(n)); };
  for (int i = 0; i < 40; ++i) {
    manual_seed(static_cast<uint64_t>(i));
    nn::Sequential model;
    const int64_t groups = up_to(3);
    const Pair kernel = pair(3), stride = pair(4), dilation = pair(4);
    const Padding padding(below(3), below(3), below(3), below(3));
    model.emplace<nn::ConvTranspose2d>(
        groups * up_to(2), groups * up_to(2), kernel,
        nn::ConvTranspose2d::Options{.stride = stride,
                                     .padding = padding,
                                     .output_padding = {below(std::max(stride.height, dilation.height)),
                                                        below(std::max(stride.width, dilation.width))},
                                     .dilation = dilation,
                                     .groups = groups});
    const Tensor weight = model.named_parameters()[0].second;
    const int64_t in = weight.shape(0), out = weight.shape(1) * groups;
    model.emplace<nn::Conv2d>(
        out, 2 * groups, pair(2),
        nn::Conv2d::Options{.stride = pair(3), .padding = 2, .dilation = pair(2), .groups = groups});
    model.emplace<nn::MaxPool2d>(
        2, nn::MaxPool2d::Options{.stride = pair(3), .padding = {below(2), below(2)}, .ceil_mode = below(2) == 1});
    model.emplace<nn::AvgPool2d>(1, nn::AvgPool2d::Options{.stride = pair(2), .ceil_mode = below(2) == 1});
    const Tensor x(random_input({2, in, 6, 7}), true);
    SCOPED_TRACE(str("geometry ", i));
    nn::Graph graph = nn::trace(model.eval(), x.detach());
    nn::Graph loaded = expect_round_trip(graph, x.detach());
    const auto expected = grad(sum(model(x)), {x})[0].data().to_vector<float>();
    const auto got = grad(sum(loaded(x)), {x})[0].data().to_vector<float>();
    EXPECT_EQ(got, expected);
  }
}

// In training mode, too, a file's copy goes on as the original does.
TEST_F(ConvCheckpoint, RunningStatisticsComeBack) {
  manual_seed(4);
  nn::Sequential model(nn::ConvBNReLU(2, 3, 3), nn::Flatten());
  const Tensor x = random_input({4, 2, 5, 5});
  for (int i = 0; i < 3; ++i) model(x);
  nn::Graph graph = nn::trace(model.eval(), x);
  nn::Graph loaded = expect_round_trip(graph, x);
  graph.train();
  loaded.train();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(graph(x).data().to_vector<float>(), loaded(x).data().to_vector<float>());
  int counters = 0;
  for (const auto& [name, tensor] : loaded.named_buffers())
    counters += name.ends_with("num_batches_tracked") && tensor.item<int64_t>() == 5;
  EXPECT_EQ(counters, 1);
}

}  // namespace
}  // namespace thimble
