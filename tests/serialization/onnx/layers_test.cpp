// Layers that the standard's node tests leave out, and what becomes of patterns.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/files.h"
#include "tests/serialization/onnx/model_builder.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::onnx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Builder = ModelBuilder;

Tensor arranged(const Shape& shape, double first = 0, double step = 1) {
  NDArray x(shape);
  for (int64_t i = 0; i < x.numel(); ++i)
    x.data<float>()[i] = static_cast<float>(first + step * static_cast<double>(i));
  return Tensor(x);
}

std::vector<float> values(const Tensor& x) { return x.data().to_vector<float>(); }

void expect_all_near(const Tensor& got, const Tensor& expected) {
  ASSERT_EQ(got.shape(), expected.shape());
  const std::vector<float> g = values(got), e = values(expected);
  for (size_t i = 0; i < g.size(); ++i) EXPECT_NEAR(g[i], e[i], 1e-5 * (1 + std::abs(e[i]))) << i;
}

TEST(OnnxConv, SameWithStridesFitsEveryImage) {
  Builder model;
  model.input("x", {-1, 1, -1, -1}).initializer("w", {1, 1, 3, 3}, std::vector<float>(9, 1));
  model.node("Conv", {"x", "w"}, {"y"}, {Builder::text("auto_pad", "SAME_LOWER"), Builder::list("strides", {2, 2})});
  nn::Graph graph = model.output("y").import();
  const Tensor w = Tensor(NDArray::ones({1, 1, 3, 3}));
  for (const int64_t size : {4, 5}) {
    const Tensor x = arranged({2, 1, size, size});
    const Padding padding = size == 4 ? Padding(1, 1, 0, 0) : Padding(1);
    expect_all_near(graph(x), conv2d(x, w, {}, {.stride = 2, .padding = padding}));
  }
}

TEST(OnnxConvTranspose, IsCutToItsOutputShapeBeforeTheBias) {
  Builder model;
  model.input("x", {1, 1, 3}).initializer("w", {1, 1, 4}, {1, 1, 1, 1}).initializer("b", {1}, {10});
  model.node("ConvTranspose", {"x", "w", "b"}, {"y"},
             {Builder::list("strides", {2}), Builder::list("output_shape", {5})});
  nn::Graph graph = model.output("y").import();
  // The whole is 8 long: of 3 too many the larger half goes first.
  EXPECT_THAT(values(graph(arranged({1, 1, 3}, 1))), ElementsAre(13, 13, 15, 15, 13));
}

TEST(OnnxMaxPool, IndicesRunOverTheWholeTensor) {
  Builder model;
  model.input("x", {-1, 2, 2, 2});
  model.node("MaxPool", {"x"}, {"y", "i"}, {Builder::list("kernel_shape", {2, 2})})
      .output("i", ::onnx::TensorProto::INT64);
  nn::Graph graph = model.import();
  EXPECT_THAT(graph(arranged({2, 2, 2, 2})).data().to_vector<int64_t>(), ElementsAre(3, 7, 11, 15));
}

TEST(OnnxConv, OfVolumesIsPaddedToo) {
  Builder model;
  model.input("x", {-1, 1, -1, -1, -1}).initializer("w", {1, 1, 3, 2, 1}, std::vector<float>(6, 1));
  model.node("Conv", {"x", "w"}, {"y"}, {Builder::text("auto_pad", "SAME_UPPER"), Builder::list("strides", {2, 2, 1})});
  nn::Graph graph = model.output("y").import();
  const Tensor w = Tensor(NDArray::ones({1, 1, 3, 2, 1}));
  for (const int64_t size : {4, 5}) {
    const Tensor x = arranged({2, 1, size, size, 3});
    const Padding3d padding = size == 4 ? Padding3d(0, Triple(1, 0, 0)) : Padding3d(Triple(1, 0, 0), Triple(1, 1, 0));
    expect_all_near(graph(x), conv3d(x, w, {}, {.stride = {2, 2, 1}, .padding = padding}));
  }
}

TEST(OnnxConvTranspose, OfVolumesIsCutToItsOutputShape) {
  Builder model;
  model.input("x", {1, 1, 2, 1, 1}).initializer("w", {1, 1, 2, 1, 1}, {1, 1}).initializer("b", {1}, {10});
  model.node("ConvTranspose", {"x", "w", "b"}, {"y"},
             {Builder::list("strides", {2, 1, 1}), Builder::list("output_shape", {3, 2, 1})});
  nn::Graph graph = model.output("y").import();
  EXPECT_THAT(values(graph(arranged({1, 1, 2, 1, 1}, 1))), ElementsAre(11, 10, 12, 10, 12, 10));
}

TEST(OnnxMaxPool, IndicesOfVolumesRunOverTheWholeTensor) {
  Builder model;
  model.input("x", {-1, 2, 2, 2, 2});
  model.node("MaxPool", {"x"}, {"y", "i"}, {Builder::list("kernel_shape", {2, 2, 1})})
      .output("i", ::onnx::TensorProto::INT64);
  nn::Graph graph = model.import();
  EXPECT_THAT(graph(arranged({1, 2, 2, 2, 2})).data().to_vector<int64_t>(), ElementsAre(6, 7, 14, 15));
}

TEST(OnnxPools, OfFourDimensionsAreRefused) {
  Builder model;
  model.input("x", {1, 1, 2, 2, 2, 2});
  model.node("MaxPool", {"x"}, {"y"}, {Builder::list("kernel_shape", {2, 2, 2, 2})});
  model.output("y");
  EXPECT_THAT([&] { model.import(); }, ::testing::ThrowsMessage<FormatError>(HasSubstr("expected 1 to 3")));
}

TEST(OnnxLstm, OrdersGatesAsPyTorch) {
  const int64_t hidden = 2;
  Builder model;
  model.input("x", {-1, -1, 1});
  std::vector<float> w, r, b, wp, rp, bp;  // of ONNX's order i, o, f, c, and of PyTorch's i, f, c, o
  const auto weight = [](int64_t gate, int64_t k) { return 0.1f * static_cast<float>(3 * gate + k + 1); };
  for (const int64_t gate : {0, 3, 1, 2})
    for (int64_t k = 0; k < hidden; ++k) w.push_back(weight(gate, k));
  for (const int64_t gate : {0, 1, 2, 3})
    for (int64_t k = 0; k < hidden; ++k) wp.push_back(weight(gate, k));
  for (const auto& [from, to] : {std::pair{&w, &r}, {&wp, &rp}})
    for (const float v : *from) to->insert(to->end(), {v, -v});
  for (const auto& [from, to] : {std::pair{&w, &b}, {&wp, &bp}}) {
    to->insert(to->end(), from->begin(), from->end());
    for (const float v : *from) to->push_back(-0.5f * v);
  }
  model.initializer("w", {1, 8, 1}, w).initializer("r", {1, 8, 2}, r).initializer("b", {1, 16}, b);
  model.node("LSTM", {"x", "w", "r", "b"}, {"y", "h", "c"}, {Builder::integer("hidden_size", hidden)});
  nn::Graph graph = model.output("y").output("h").output("c").import();
  const Tensor x = arranged({3, 2, 1}, -1, 0.3), bias = Tensor(NDArray::from_vector(bp, {1, 16}));
  const Tensor expected =
      lstm(x, Tensor(NDArray::from_vector(wp, {1, 8, 1})), Tensor(NDArray::from_vector(rp, {1, 8, 2})),
           {.bias_ih = slice(bias, 1, 0, 8), .bias_hh = slice(bias, 1, 8, 16)});
  const nn::NamedTensors got = graph.run({{"x", x}});
  expect_all_near(got[0].second, slice(expected, 0, 0, 3));
  expect_all_near(got[1].second, squeeze(slice(expected, 0, 3, 4), 0));
  expect_all_near(got[2].second, squeeze(slice(expected, 0, 4, 5), 0));
}

TEST(OnnxRnn, ActivationsTakeAlphasInTurn) {
  Builder model;
  model.input("x", {1, 1, 1}).initializer("w", {2, 1, 1}, {1, 1}).initializer("r", {2, 1, 1}, {0, 0});
  Builder::Attribute names, alphas;
  names.set_name("activations");
  names.set_type(Builder::Attribute::STRINGS);
  names.add_strings("Tanh");
  names.add_strings("LeakyRelu");
  alphas.set_name("activation_alpha");
  alphas.set_type(Builder::Attribute::FLOATS);
  alphas.add_floats(0.5f);
  const Builder::Attribute direction = Builder::text("direction", "bidirectional");
  Builder refused = model;
  model.node("RNN", {"x", "w", "r"}, {"y"}, {Builder::integer("hidden_size", 1), direction, names, alphas});
  nn::Graph graph = model.output("y").import();
  EXPECT_THAT(values(graph(arranged({1, 1, 1}, -2))), ElementsAre(std::tanh(-2.0f), -1));
  names.set_strings(1, "ScaledTanh");
  refused.node("RNN", {"x", "w", "r"}, {"y"}, {Builder::integer("hidden_size", 1), direction, names, alphas});
  EXPECT_THROW(refused.output("y").import(), FormatError);  // it has no beta
}

TEST(OnnxGroupNorm, ScalesGroupsInOpset18AndChannelsSince21) {
  for (const int64_t opset : {18, 21}) {
    Builder model(opset);
    const bool per_channel = opset == 21;
    model.input("x", {-1, 4, -1});
    model.initializer("s", {per_channel ? 4 : 2},
                      per_channel ? std::vector<float>{1, 2, 3, 4} : std::vector<float>{1, 3});
    model.initializer("b", {per_channel ? 4 : 2},
                      per_channel ? std::vector<float>{0, 0, 1, 1} : std::vector<float>{0, 1});
    model.node("GroupNormalization", {"x", "s", "b"}, {"y"}, {Builder::integer("num_groups", 2)});
    nn::Graph graph = model.output("y").import();
    const std::vector<float> scale = per_channel ? std::vector<float>{1, 2, 3, 4} : std::vector<float>{1, 1, 3, 3};
    const Tensor x = arranged({2, 4, 3}, 0, 0.5);
    expect_all_near(graph(x), group_norm(x, 2, Tensor(NDArray::from_vector(scale)),
                                         Tensor(NDArray::from_vector<float>({0, 0, 1, 1}))));
  }
}

TEST(OnnxBatchNorm, InTrainingModeGivesTheBatchsStatistics) {
  Builder model(15);
  model.input("x", {-1, 1});
  for (const char* name : {"s", "v"}) model.initializer(name, {1}, {1});
  for (const char* name : {"b", "m"}) model.initializer(name, {1}, {0});
  model.node("BatchNormalization", {"x", "s", "b", "m", "v"}, {"y", "nm", "nv"},
             {Builder::integer("training_mode", 1)});
  nn::Graph graph = model.output("y").output("nm").output("nv").import();
  for (int round = 0; round < 2; ++round) {  // nothing is kept between calls
    const nn::NamedTensors got = graph.run({{"x", arranged({2, 1}, 1, 2)}});
    EXPECT_NEAR(values(got[0].second)[0], -1, 1e-4);
    EXPECT_NEAR(values(got[1].second)[0], 0.2, 1e-6);
    EXPECT_NEAR(values(got[2].second)[0], 1, 1e-6);
  }
}

TEST(OnnxResize, RepeatsPixelsOrInterpolates) {
  Builder model;
  model.input("x", {-1, 1, -1, -1}).initializer("s", {4}, {1, 1, 2, 2});
  model.node("Resize", {"x", "", "s"}, {"a"},
             {Builder::text("nearest_mode", "floor"), Builder::text("coordinate_transformation_mode", "asymmetric")});
  model.node("Resize", {"x", "", "s"}, {"b"}, {Builder::text("mode", "linear")});
  nn::Graph graph = model.output("a").output("b").import();
  const Tensor x = arranged({1, 1, 2, 2}, 1);
  const nn::NamedTensors got = graph.run({{"x", x}});
  expect_all_near(got[0].second, upsample_nearest2d(x, 2));
  expect_all_near(got[1].second, interpolate(x, {.mode = "linear", .axes = {2, 3}, .scales = {2, 2}}));
}

TEST(OnnxInputs, AnInitializerAmongThemIsADefault) {
  Builder model;
  model.input("x", {-1}).input("w", {2}).initializer("w", {2}, {10, 20});
  model.node("Add", {"x", "w"}, {"y"}).output("y");
  nn::Graph graph = model.import();
  const TempFolder folder;
  save_model(graph, folder.path() / "model.safetensors");
  nn::Graph loaded = load_model(folder.path() / "model.safetensors"), copy = graph.clone();
  for (nn::Graph* g : {&graph, &loaded, &copy}) {
    EXPECT_THAT(values((*g)(arranged({2}))), ElementsAre(10, 21));
    EXPECT_THAT(values(g->run({{"x", arranged({2})}})[0].second), ElementsAre(10, 21));
    EXPECT_THAT(values(g->run({{"w", arranged({2}, 5)}, {"x", arranged({2})}})[0].second), ElementsAre(5, 7));
    EXPECT_THROW(g->run({{"w", arranged({2})}}), ValueError);
  }
  model.proto().set_ir_version(3);  // all initializers are inputs there
  EXPECT_EQ(model.import().inputs().size(), 1u);
}

// As exporters write them.
class OnnxPatterns : public ::testing::Test {
 protected:
  // The names of the graph's ops, and the types of its layers.
  static std::vector<std::string> parts(const nn::Graph& graph) {
    std::vector<std::string> found;
    for (const nn::Node* node : graph.nodes()) {
      if (node->kind == nn::Node::Kind::op) found.push_back(node->target);
      if (node->kind == nn::Node::Kind::layer) found.push_back(graph.layer(node).type());
    }
    return found;
  }
  static Builder numbers() {
    Builder model;
    model.input("x", {-1, -1, 4});
    for (const auto& [name, value] : std::initializer_list<std::pair<const char*, float>>{{"half", 0.5f},
                                                                                          {"one", 1},
                                                                                          {"two", 2},
                                                                                          {"three", 3},
                                                                                          {"six", 6},
                                                                                          {"root", std::sqrt(2.0f)},
                                                                                          {"eps", 1e-5f}})
      model.initializer(name, {}, {value});
    return model;
  }
  const Tensor x_ = arranged({2, 3, 4}, -4, 0.35);
};

TEST_F(OnnxPatterns, LayerNormBecomesALayer) {
  Builder model = numbers();
  model.initializer("w", {4}, {1, 2, 3, 4}).initializer("b", {4}, {0, 1, 0, 1});
  const Builder::Attribute axes = Builder::list("axes", {2});
  model.node("ReduceMean", {"x"}, {"m"}, {axes}).node("Sub", {"x", "m"}, {"d"}).node("Pow", {"d", "two"}, {"p"});
  model.node("ReduceMean", {"p"}, {"v"}, {axes}).node("Add", {"v", "eps"}, {"a"}).node("Sqrt", {"a"}, {"s"});
  model.node("Div", {"d", "s"}, {"n"}).node("Mul", {"n", "w"}, {"nw"}).node("Add", {"nw", "b"}, {"y"});
  nn::Graph graph = model.output("y").import();
  EXPECT_THAT(parts(graph), ElementsAre("LayerNorm"));
  expect_all_near(graph(x_), layer_norm(x_, {4}, Tensor(NDArray::from_vector<float>({1, 2, 3, 4})),
                                        Tensor(NDArray::from_vector<float>({0, 1, 0, 1}))));
}

TEST_F(OnnxPatterns, GeluHardswishAndSiluBecomeOps) {
  Builder gelu_model = numbers();
  gelu_model.node("Div", {"x", "root"}, {"a"}).node("Erf", {"a"}, {"e"}).node("Add", {"e", "one"}, {"f"});
  gelu_model.node("Mul", {"x", "f"}, {"m"}).node("Mul", {"m", "half"}, {"y"});
  nn::Graph gelu_graph = gelu_model.output("y").import();
  EXPECT_THAT(parts(gelu_graph), ElementsAre("gelu"));
  expect_all_near(gelu_graph(x_), gelu(x_));

  Builder hard = numbers();
  hard.initializer("zero", {}, {0});
  hard.node("Add", {"x", "three"}, {"a"}).node("Clip", {"a", "zero", "six"}, {"c"});
  hard.node("Mul", {"x", "c"}, {"m"}).node("Div", {"m", "six"}, {"y"});
  nn::Graph hard_graph = hard.output("y").import();
  EXPECT_THAT(parts(hard_graph), ElementsAre("hardswish"));
  expect_all_near(hard_graph(x_), hardswish(x_));

  Builder swish = numbers();
  swish.node("Sigmoid", {"x"}, {"s"}).node("Mul", {"s", "x"}, {"y"});
  nn::Graph swish_graph = swish.output("y").import();
  EXPECT_THAT(parts(swish_graph), ElementsAre("silu"));
  expect_all_near(swish_graph(x_), silu(x_));
}

TEST_F(OnnxPatterns, WhatOnlyLooksAlikeStays) {
  Builder model = numbers();
  model.node("Sigmoid", {"x"}, {"s"}).node("Mul", {"s", "two"}, {"t"}).node("Mul", {"t", "x"}, {"y"});
  nn::Graph graph = model.output("y").output("s").import();
  EXPECT_THAT(parts(graph), ElementsAre("sigmoid", "mul", "mul"));
}

}  // namespace
}  // namespace thimble::onnx
