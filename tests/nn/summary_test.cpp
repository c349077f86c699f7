// Models printed, and counted layer by layer.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/nn/graph/summary.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/recurrent.h>

namespace thimble::nn {
namespace {

using testing::HasSubstr;

struct PrintedNet : Module {
  Submodule<Sequential> body{this, "body", Conv2d(3, 8, 3, {.stride = 2, .padding = 1, .groups = 1}), ReLU()};
  Submodule<Linear> head{this, "head", 8 * 4 * 4, 10};
  Tensor forward(const Tensor& x) override { return head(flatten(body(x), 1)); }
};

std::string printed(const Module& module) {
  std::ostringstream out;
  out << module;
  return out.str();
}

TEST(PrintedModule, ShowsItsPartsAndWhatTheyHaveOfTheirOwn) {
  EXPECT_EQ(printed(PrintedNet()),
            "PrintedNet(\n"
            "  (body): Sequential(\n"
            "    (0): Conv2d(in_channels=3, kernel_size=[3,3], out_channels=8, padding=[1,1,1,1], stride=[2,2])\n"
            "    (1): ReLU()\n"
            "  )\n"
            "  (head): Linear(in_features=128, out_features=10)\n"
            ")");
  EXPECT_EQ(printed(Sequential()), "Sequential()");
  EXPECT_EQ(printed(Linear(2, 3)), "Linear(in_features=2, out_features=3)");
}

TEST(Summary, CountsWhatAModelIsMadeOf) {
  PrintedNet net;
  const ModelSummary all = summary(net, {Tensor(NDArray::zeros({2, 3, 8, 8}))});
  ASSERT_EQ(all.layers.size(), 4u);
  const LayerSummary &conv = all.layers[0], &head = all.layers[3];
  EXPECT_EQ(conv.name, "body.0");
  EXPECT_EQ(conv.type, "Conv2d");
  EXPECT_EQ(conv.output_shape, (Shape{2, 8, 4, 4}));
  EXPECT_EQ(conv.parameters, 3 * 8 * 9 + 8);
  EXPECT_EQ(conv.multiply_adds, 2 * 8 * 4 * 4 * 3 * 9);
  EXPECT_EQ(conv.output_bytes, 2 * 8 * 4 * 4 * 4);
  EXPECT_EQ(head.multiply_adds, 2 * 10 * 128);
  EXPECT_EQ(all.parameters, net.num_parameters());
  EXPECT_EQ(all.multiply_adds, conv.multiply_adds + head.multiply_adds);
  EXPECT_EQ(all.weight_bytes, 4 * net.num_parameters());
  EXPECT_TRUE(net.training());
  EXPECT_THAT(all.text(), HasSubstr("parameters: 1,514, multiply-adds: 9,472"));
}

TEST(Summary, OfGroupsTransposedConvolutionsAndRecurrentLayers) {
  Sequential grouped(Conv2d(4, 8, 3, {.groups = 2}), ConvTranspose2d(8, 6, 2, {.stride = 2}));
  const ModelSummary images = summary(grouped, {Tensor(NDArray::zeros({1, 4, 5, 5}))});
  EXPECT_EQ(images.layers[0].multiply_adds, 8 * 3 * 3 * 2 * 9);
  EXPECT_EQ(images.layers[1].multiply_adds, 3 * 3 * 8 * 6 * 4);
  LSTM lstm(5, 7, {.num_layers = 2, .batch_first = true});
  const ModelSummary sequences = summary(lstm, {Tensor(NDArray::zeros({3, 4, 5}))});
  EXPECT_EQ(sequences.multiply_adds, 3 * 4 * 4 * 7 * (5 + 7 + 7 + 7));
}

// A layer that is called twice has its parameters once, and its products twice.
TEST(Summary, OfALayerThatIsCalledTwice) {
  struct Twice : Module {
    Submodule<Linear> layer{this, "layer", 4, 4};
    Tensor forward(const Tensor& x) override { return layer(layer(x)); }
  } twice;
  const ModelSummary all = summary(twice, {Tensor(NDArray::zeros({1, 4}))});
  EXPECT_EQ(all.parameters, 20);
  EXPECT_EQ(all.layers[0].parameters + all.layers[1].parameters, 20);
  EXPECT_EQ(all.multiply_adds, 2 * 16);
}

}  // namespace
}  // namespace thimble::nn
