#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/as_convolutions.h>

namespace thimble::quant {
namespace {

class AsConvolutions : public QuantizeTest {
 protected:
  static int count(const Graph& graph, std::string_view type) {
    int found = 0;
    for (const Node* node : graph.nodes()) found += graph.is_layer(node, type) || graph.is_op(node, type);
    return found;
  }

  // Norms get statistics that are not those they begin with.
  static void stir(nn::Module& model) {
    Generator rng(5);
    for (auto& [name, buffer] : model.named_buffers()) {
      if (!is_floating_point(buffer.dtype())) continue;
      Tensor changed = buffer;
      for (float& v : std::span(changed.mutable_data().data<float>(), static_cast<size_t>(buffer.numel())))
        v = 0.5f + static_cast<float>(rng.uniform());
    }
  }

  Graph checked(nn::Module& model, const Shape& shape) {
    stir(model);
    const Graph graph = traced(model, shape);
    Graph result = as_convolutions(graph);
    Graph original = graph.clone();
    const auto expected = original(Tensor(data)), got = result(Tensor(data));
    EXPECT_EQ(got.shape(), expected.shape());
    const auto e = expected.data().to_vector<double>(), g = got.data().to_vector<double>();
    for (size_t i = 0; i < e.size() && i < g.size(); ++i) EXPECT_NEAR(g[i], e[i], 1e-4 * (1 + std::abs(e[i])));
    EXPECT_EQ(as_convolutions(result).table(), result.table()) << "of its own result it changes nothing";
    return result;
  }
};

TEST_F(AsConvolutions, LayersThatAreCalledTwiceStayOne) {
  struct Lines : nn::Module {
    nn::Submodule<nn::Conv1d> conv{this, "conv", 3, 3, 3, nn::Conv1d::Options{.padding = 1}};
    Tensor forward(const Tensor& x) override { return conv(relu(conv(x))); }
  } lines;
  const Graph of_lines = checked(lines, {4, 3, 9});
  EXPECT_EQ(count(of_lines, "Conv2d"), 2) << of_lines.table();
  EXPECT_EQ(of_lines.children().size(), 1u);
  Converted int8 = quantized(traced(lines, {4, 3, 9}));
  EXPECT_EQ(int8.count("QuantizedConv2d"), 2) << int8.graph.table();
  expect_deterministic(int8.graph);

  struct Dense : nn::Module {
    nn::Submodule<nn::Conv2d> first{this, "first", 2, 3, 1}, last{this, "last", 3, 3, 1};
    nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 3};
    Tensor forward(const Tensor& x) override {
      const Tensor h = max_pool2d(first(x), 2);
      return last(relu(bn(last(relu(bn(h))))));
    }
  } dense;
  const Graph of_norms = checked(dense, {4, 2, 6, 6});
  EXPECT_EQ(count(of_norms, "BatchNorm2d"), 0) << of_norms.table();
  EXPECT_EQ(of_norms.children().size(), 3u);
}

TEST_F(AsConvolutions, TransposedConvolutionsOfAllShapes) {
  int checked_ones = 0;
  for (const int64_t kernel : {1, 2, 3, 4, 5})
    for (const int64_t stride : {1, 2, 3})
      for (const int64_t padding : {0, 1, 2})
        for (const int64_t extra : {0, 1}) {
          if (padding >= kernel || extra >= stride) continue;
          SCOPED_TRACE(str("kernel ", kernel, " stride ", stride, " padding ", padding, " output padding ", extra));
          nn::Sequential model(nn::ConvTranspose2d(
              3, 5, kernel,
              nn::ConvTranspose2d::Options{.stride = stride, .padding = padding, .output_padding = extra}));
          const Graph graph = checked(model, {2, 3, 4, 5});
          const bool is_plain = (kernel + stride - 1) / stride * stride + padding - kernel - extra >= 0;
          EXPECT_EQ(count(graph, "Conv2d"), is_plain) << graph.table();
          checked_ones += is_plain;
        }
  EXPECT_GE(checked_ones, 40);
}

TEST_F(AsConvolutions, OfUnevenKernelsAndPadding) {
  nn::Sequential model(nn::ConvTranspose2d(
      2, 3, {3, 4}, nn::ConvTranspose2d::Options{.stride = 2, .padding = Padding(1, 0, 0, 2), .bias = false}));
  EXPECT_EQ(count(checked(model, {2, 2, 4, 5}), "Conv2d"), 1);
}

TEST_F(AsConvolutions, WhatFollowsATransposedOneIsFused) {
  struct Net : nn::Module {
    nn::Submodule<nn::ConvTranspose2d> up{this, "up", 3, 4, 2, nn::ConvTranspose2d::Options{.stride = 2}};
    nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 4};
    Tensor shift = register_parameter("shift", randn({1, 4, 1, 1}, default_generator()));
    Tensor forward(const Tensor& x) override { return relu(bn(up(x) + shift)); }
  } model;
  const Graph graph = checked(model, {2, 3, 4, 5});
  EXPECT_EQ(count(graph, "Conv2dReLU"), 1) << graph.table();
  EXPECT_EQ(graph.nodes().size(), 3u) << graph.table();
  EXPECT_EQ(count(graph, "pixel_shuffle"), 1);
}

TEST_F(AsConvolutions, AValueKeepsItsName) {
  nn::Sequential model(nn::ConvTranspose2d(2, 3, 2, nn::ConvTranspose2d::Options{.stride = 2}), nn::Conv2d(3, 2, 1));
  const Graph graph = checked(model, {2, 2, 3, 4});
  Graph original = nn::trace(model, Tensor(data)), copy = graph.clone();
  const auto shape_of_value = [&](Graph& g, const char* name) {
    Graph part = g.clone();
    part.set_output(part.find(name));
    return part(Tensor(data)).shape();
  };
  EXPECT_EQ(shape_of_value(copy, "0"), shape_of_value(original, "0"));
  EXPECT_TRUE(graph.is_layer(graph.find("0.conv"), "Conv2d")) << graph.table();
  auto mapping = QConfigMapping::static_int8();
  mapping.set_type("ConvTranspose2d", std::nullopt);
  Converted result = quantized(original, mapping);
  EXPECT_TRUE(result.layer("0.conv").kept_float) << "its type goes on counting";
}

// Which files may ask for: most products would be with zeros, of a weight as large as they like.
TEST_F(AsConvolutions, LeavesStridesFarBeyondTheKernel) {
  nn::Sequential model(nn::ConvTranspose2d(1, 1, 1, nn::ConvTranspose2d::Options{.stride = 100000}));
  Graph graph;
  graph.set_output(graph.add_layer("up", model.children().front().second, {graph.add_input("x")}));
  EXPECT_EQ(count(as_convolutions(graph), "ConvTranspose2d"), 1);
}

TEST_F(AsConvolutions, LeavesWhatItCannotDo) {
  nn::Sequential dilated(nn::ConvTranspose2d(2, 2, 3, nn::ConvTranspose2d::Options{.stride = 2, .dilation = 2})),
      grouped(nn::ConvTranspose2d(2, 2, 3, nn::ConvTranspose2d::Options{.stride = 2, .groups = 2})),
      uneven(nn::ConvTranspose2d(2, 2, 3, nn::ConvTranspose2d::Options{.stride = {1, 2}}));
  for (nn::Module* model : {&dilated, &grouped, &uneven})
    EXPECT_EQ(count(checked(*model, {2, 2, 4, 5}), "ConvTranspose2d"), 1);
}

TEST_F(AsConvolutions, NormalizationsThatFollowNoConvolution) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 4, 3}, b{this, "b", 8, 5, 1};
    nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 8},
        plain{this, "plain", 8, nn::BatchNorm2d::Options{.affine = false}};
    Tensor forward(const Tensor& x) override {
      const Tensor h = a(x), both = concat({h, relu(h)}, 1);
      return b(relu(bn(both)) + plain(both));
    }
  } model;
  const Graph graph = checked(model, {2, 3, 6, 5});
  EXPECT_EQ(count(graph, "BatchNorm2d"), 0) << graph.table();
  EXPECT_EQ(count(graph, "Conv2dReLU"), 1) << graph.table();
  Converted result = quantized(nn::trace(model, Tensor(data)));
  EXPECT_EQ(result.count("QuantizedConv2d"), 4) << result.graph.table();
  EXPECT_EQ(result.count("Dequantize"), 0);
  expect_integers(result.graph);
}

TEST_F(AsConvolutions, ConvolutionsOfSequences) {
  nn::Sequential model(nn::Conv1d(3, 4, 3, nn::Conv1d::Options{.stride = 2, .padding = 1}), nn::BatchNorm1d(4),
                       nn::ReLU(), nn::Conv1d(4, 4, 2, nn::Conv1d::Options{.dilation = 2, .groups = 2, .bias = false}));
  const Graph graph = checked(model, {2, 3, 17});
  EXPECT_EQ(count(graph, "Conv1d"), 0) << graph.table();
  Converted result = quantized(nn::trace(model, Tensor(data)));
  EXPECT_EQ(result.count("QuantizedConv2d"), 2) << result.graph.table();
  EXPECT_EQ(result.count("Quantize"), 1);
  EXPECT_GT(sqnr(nn::trace(model, Tensor(data)), result), 25);
  expect_integers(result.graph);
}

TEST_F(AsConvolutions, PaddingPassesIntegersOn) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 4, 3}, b{this, "b", 4, 5, 3}, c{this, "c", 5, 5, 1};
    Tensor forward(const Tensor& x) override {
      return c(pad(b(pad(a(x), {1, 0, 2, 1}, 0.0)), {1, 1, 1, 1}, PadMode::reflect));
    }
  } model;
  const Graph graph = traced(model, {2, 3, 6, 5});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("Quantize"), 1) << result.graph.table();
  EXPECT_EQ(result.count("Dequantize"), 0);
  EXPECT_GT(sqnr(graph, result), 25);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

}  // namespace
}  // namespace thimble::quant
