#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/onnx/model_builder.h"
#include <thimble/nn/graph/graph.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {
namespace {

using ::onnx::TensorProto;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kUint8 = TensorProto::UINT8, kInt8 = TensorProto::INT8, kInt32 = TensorProto::INT32;

NDArray random_floats(const Shape& shape, unsigned seed, float size = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, size);
  NDArray x(shape);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = normal(rng);
  return x;
}

// A model of a graph's nodes that quantizes and dequantizes.
class QuantizedBuilder : public ModelBuilder {
 public:
  using ModelBuilder::ModelBuilder;

  QuantizedBuilder& input(const std::string& name, const std::vector<int64_t>& shape, int type = TensorProto::FLOAT) {
    ModelBuilder::input(name, shape, type);
    return *this;
  }
  QuantizedBuilder& output(const std::string& name, int type = TensorProto::FLOAT) {
    ModelBuilder::output(name, type);
    return *this;
  }
  QuantizedBuilder& initializer(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    ModelBuilder::initializer(name, shape, values);
    return *this;
  }
  QuantizedBuilder& integers(const std::string& name, const std::vector<int64_t>& values) {
    ModelBuilder::integers(name, values);
    return *this;
  }
  QuantizedBuilder& node(const std::string& op, const std::vector<std::string>& inputs,
                         const std::vector<std::string>& outputs, const std::vector<Attribute>& attributes = {},
                         const std::string& domain = "") {
    ModelBuilder::node(op, inputs, outputs, attributes, domain);
    return *this;
  }
  QuantizedBuilder& number(const std::string& name, float value) {
    initializer(name, {}, {value});
    return *this;
  }
  template <typename T>
  QuantizedBuilder& integers_of(const std::string& name, const Shape& shape, int type, const std::vector<T>& values) {
    tensor<T>(name, shape, type, values);
    return *this;
  }
  // Scale NAME.s and zero point NAME.z.
  QuantizedBuilder& parameters(const std::string& name, float scale, int zero_point, int type = kUint8) {
    number(name + ".s", scale);
    if (type == kUint8)
      integers_of<uint8_t>(name + ".z", {}, type, {static_cast<uint8_t>(zero_point)});
    else
      integers_of<int8_t>(name + ".z", {}, type, {static_cast<int8_t>(zero_point)});
    return *this;
  }
  QuantizedBuilder& quantize(const std::string& x, const std::string& q, const std::string& parameters) {
    node("QuantizeLinear", {x, parameters + ".s", parameters + ".z"}, {q});
    return *this;
  }
  QuantizedBuilder& dequantize(const std::string& q, const std::string& x, const std::string& parameters) {
    node("DequantizeLinear", {q, parameters + ".s", parameters + ".z"}, {x});
    return *this;
  }
  // A value x as x.dq, quantized.
  QuantizedBuilder& round_trip(const std::string& x, float scale, int zero_point, int type = kUint8) {
    parameters(x, scale, zero_point, type);
    return quantize(x, x + ".q", x).dequantize(x + ".q", x + ".dq", x);
  }

  nn::Graph import_with(const ImportOptions& options) { return Importer(proto(), ".", options).run(); }
  nn::Graph dequantized() {
    ImportOptions options;
    options.integer_layers = false;
    return import_with(options);
  }
};

int count(const nn::Graph& graph, const std::string& type) {
  int found = 0;
  for (const nn::Node* node : graph.nodes()) found += graph.is_layer(node, type) || graph.is_op(node, type) ? 1 : 0;
  return found;
}

std::vector<std::string> types_of(const nn::Graph& graph) {
  std::vector<std::string> types;
  for (const nn::Node* node : graph.nodes())
    if (node->kind == nn::Node::Kind::layer)
      types.push_back(graph.layer(node).type());
    else if (node->kind == nn::Node::Kind::op)
      types.push_back(node->target);
  return types;
}

// By how many steps of the output the integer graph is off the dequantized one, and how many values are.
struct Steps {
  double most = 0, share = 0;
};
Steps steps_between(QuantizedBuilder& model, const NDArray& x, double scale) {
  const auto got = model.import()(Tensor(x)).data().to_vector<double>();
  const auto expected = model.dequantized()(Tensor(x)).data().to_vector<double>();
  EXPECT_EQ(got.size(), expected.size());
  Steps steps;
  for (size_t i = 0; i < got.size(); ++i) {
    const double off = std::abs(got[i] - expected[i]) / scale;
    steps.most = std::max(steps.most, off);
    steps.share += (off > 0.01 ? 1.0 : 0.0) / static_cast<double>(got.size());
  }
  return steps;
}

void expect_close(QuantizedBuilder& model, const NDArray& x, double scale) {
  const Steps steps = steps_between(model, x, scale);
  EXPECT_LE(steps.most, 1.01);
  EXPECT_LE(steps.share, 0.01);
}

// What may differ between files that say the same.
struct ConvCase {
  int activation = kUint8, weight = kInt8;
  int weight_zero_point = 0;
  float bias_scale = 1;  // of the one that the sums have
  int integer_layers = 1;
};

QuantizedBuilder conv_model(const ConvCase& c) {
  std::mt19937 rng(7);
  QuantizedBuilder model(13);
  model.input("x", {-1, 4, -1, -1}).output("y");
  const bool is_signed = c.weight == kInt8;
  std::vector<int8_t> signed_weights;
  std::vector<uint8_t> weights;
  for (int i = 0; i < 6 * 4 * 9; ++i) {
    signed_weights.push_back(static_cast<int8_t>(rng()));
    weights.push_back(static_cast<uint8_t>(rng()));
  }
  const Shape shape{6, 4, 3, 3};
  if (is_signed)
    model.integers_of("w", shape, kInt8, signed_weights)
        .integers_of<int8_t>("w.z", {6}, kInt8, std::vector<int8_t>(6, static_cast<int8_t>(c.weight_zero_point)));
  else
    model.integers_of("w", shape, kUint8, weights)
        .integers_of<uint8_t>("w.z", {6}, kUint8, std::vector<uint8_t>(6, static_cast<uint8_t>(c.weight_zero_point)));
  std::vector<float> scales, bias_scales;
  std::vector<int32_t> bias;
  for (int i = 0; i < 6; ++i) {
    scales.push_back(0.002f + 0.001f * static_cast<float>(i));
    bias_scales.push_back(0.03f * scales.back() * c.bias_scale);
    bias.push_back(static_cast<int32_t>(rng() % 2000) - 1000);
  }
  model.initializer("w.s", {6}, scales).initializer("b.s", {6}, bias_scales);
  model.integers_of("b", {6}, kInt32, bias);
  const auto axis = ModelBuilder::integer("axis", 0);
  model.node("DequantizeLinear", {"w", "w.s", "w.z"}, {"w.dq"}, {axis});
  model.node("DequantizeLinear", {"b", "b.s"}, {"b.dq"}, {axis});
  const int middle = c.activation == kUint8 ? 0 : 128;
  model.round_trip("x", 0.03f, 120 - middle, c.activation);
  model.node("Conv", {"x.dq", "w.dq", "b.dq"}, {"conv"}, {ModelBuilder::list("pads", {1, 1, 1, 1})});
  model.node("Relu", {"conv"}, {"relu"}).round_trip("relu", 0.05f, 20 - middle, c.activation);
  model.node("Identity", {"relu.dq"}, {"y"});
  return model;
}

TEST(QuantizedImport, ConvolutionsBecomeIntegerLayersWhateverTheirIntegersAre) {
  const ConvCase cases[] = {{},
                            {.activation = kInt8},
                            {.bias_scale = 3},
                            {.weight_zero_point = 0, .bias_scale = 0.5f},
                            {.weight = kUint8, .weight_zero_point = 128},
                            {.weight = kUint8, .weight_zero_point = 100},
                            {.activation = kInt8, .weight = kInt8, .weight_zero_point = -7}};
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(str(c.activation, ' ', c.weight, ' ', c.weight_zero_point, ' ', c.bias_scale));
    QuantizedBuilder model = conv_model(c);
    nn::Graph graph = model.import();
    EXPECT_EQ(count(graph, "QuantizedConv2d"), 1) << graph.table();
    EXPECT_EQ(count(graph, "Conv2d"), 0);
    EXPECT_EQ(count(graph, "quantize_linear") + count(graph, "dequantize_linear"), 0);
    expect_close(model, random_floats({2, 4, 7, 5}, 3), 0.05);
  }
}

// Padding that depends on the image's size, of the zero point.
TEST(QuantizedImport, ConvolutionsOfPaddedImagesBecomeIntegerLayers) {
  QuantizedBuilder model(13);
  model.input("x", {-1, 2, -1, -1})
      .output("y")
      .integers_of<int8_t>("w", {1, 2, 3, 3}, kInt8, std::vector<int8_t>(18, 9));
  model.parameters("w", 0.1f, 0, kInt8).dequantize("w", "w.dq", "w").round_trip("x", 0.1f, 77);
  model.node("Conv", {"x.dq", "w.dq"}, {"y"},
             {ModelBuilder::text("auto_pad", "SAME_UPPER"), ModelBuilder::list("strides", {2, 2})});
  nn::Graph graph = model.import();
  EXPECT_EQ(count(graph, "QuantizedConv2d"), 1) << graph.table();
  for (const Shape& shape : {Shape{1, 2, 5, 6}, Shape{2, 2, 8, 3}}) {
    const Tensor x = random_floats(shape, 21);
    const auto got = graph(x).data().to_vector<double>(), expected = model.dequantized()(x).data().to_vector<double>();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-4);
  }
}

// Scales along inputs are no integer product's: what is exact counts, not what is fast.
TEST(QuantizedImport, ScalesAlongInputsStayDequantized) {
  QuantizedBuilder model(13);
  model.input("x", {-1, 3}).output("y");
  model.integers_of<int8_t>("w", {3, 2}, kInt8, {10, 20, 30, -40, 50, 60}).initializer("w.s", {3}, {1, 2, 4});
  model.node("DequantizeLinear", {"w", "w.s"}, {"w.dq"}, {ModelBuilder::integer("axis", 0)});
  model.round_trip("x", 1, 0).node("MatMul", {"x.dq", "w.dq"}, {"y"});
  quant::ConversionReport report;
  ImportOptions options;
  options.report = &report;
  nn::Graph graph = model.import_with(options);
  EXPECT_THAT(graph(Tensor(NDArray::from_vector<float>({1, 2, 3}, {1, 3}))).data().to_vector<float>(),
              ElementsAre(10 + 120 + 600, 20 - 160 + 720));
  ASSERT_EQ(report.size(), 1u);
  EXPECT_EQ(report[0].name, "y");
  EXPECT_THAT(report[0].reason, HasSubstr("output channel"));
}

// [in, out], scales along the columns; no quantize behind it.
TEST(QuantizedImport, MatrixProductsBecomeIntegerLayers) {
  QuantizedBuilder model(13);
  model.input("x", {-1, 2, 3}).output("y");
  model.integers_of<int8_t>("w", {3, 2}, kInt8, {10, 20, 30, -40, 50, 60}).initializer("w.s", {2}, {1, 0.5f});
  model.node("DequantizeLinear", {"w", "w.s"}, {"w.dq"}, {ModelBuilder::integer("axis", 1)});
  model.round_trip("x", 1, 100).node("MatMul", {"x.dq", "w.dq"}, {"y"});
  nn::Graph graph = model.import();
  EXPECT_THAT(types_of(graph), ElementsAre("Quantize", "QuantizedLinear"));
  EXPECT_THAT(graph(Tensor(NDArray::from_vector<float>({1, 2, 3, 0, 0, -1}, {1, 2, 3}))).data().to_vector<float>(),
              ElementsAre(220, 60, -50, -30));
}

TEST(QuantizedImport, AVectorThatIsAddedToAProductIsItsBias) {
  QuantizedBuilder model(13);
  std::mt19937 rng(15);
  std::vector<int8_t> w(16 * 3);
  for (int8_t& v : w) v = static_cast<int8_t>(rng());
  model.input("x", {-1, 16}).output("y").integers_of("w", {16, 3}, kInt8, w).parameters("w", 0.01f, 0, kInt8);
  model.dequantize("w", "w.dq", "w").initializer("b", {3}, {1, -2, 3}).round_trip("x", 0.02f, 128);
  model.node("MatMul", {"x.dq", "w.dq"}, {"m"}).node("Add", {"b", "m"}, {"a"}).round_trip("a", 0.05f, 100);
  model.node("Identity", {"a.dq"}, {"y"});
  EXPECT_THAT(types_of(model.import()), ElementsAre("Quantize", "QuantizedLinear", "Dequantize"));
  expect_close(model, random_floats({20, 16}, 16), 0.05);
}

// Between equal parameters values move as integers; between others they go through a table.
TEST(QuantizedImport, MovingIntegersStayIntegers) {
  QuantizedBuilder model(13);
  model.input("x", {-1, 2, 4, 4}).output("y").integers("shape", {0, -1});
  model.round_trip("x", 0.1f, 3);
  model.node("MaxPool", {"x.dq"}, {"p"},
             {ModelBuilder::list("kernel_shape", {2, 2}), ModelBuilder::list("strides", {2, 2})});
  model.quantize("p", "p.q", "x").dequantize("p.q", "p.dq", "x");
  model.node("Transpose", {"p.dq"}, {"t"}, {ModelBuilder::list("perm", {0, 2, 3, 1})});
  model.quantize("t", "t.q", "x").node("Reshape", {"t.q", "shape"}, {"r"}).dequantize("r", "r.dq", "x");
  model.parameters("z", 0.2f, 5).quantize("r.dq", "z.q", "z").dequantize("z.q", "y", "z");
  nn::Graph graph = model.import();
  EXPECT_THAT(types_of(graph),
              ElementsAre("Quantize", "max_pool2d", "permute", "reshape", "QuantizedTable", "Dequantize"));
  EXPECT_EQ(steps_between(model, random_floats({3, 2, 4, 4}, 1, 5), 0.2).share, 0);
}

TEST(QuantizedImport, FunctionsOfOneValueBecomeExactTables) {
  for (const char* op : {"Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Relu"}) {
    SCOPED_TRACE(op);
    QuantizedBuilder model(14);
    model.input("x", {-1}).output("y").round_trip("x", 0.05f, 90).node(op, {"x.dq"}, {"f"});
    model.round_trip("f", 0.013f, 77, kInt8).node("Identity", {"f.dq"}, {"y"});
    nn::Graph graph = model.import();
    EXPECT_EQ(count(graph, "QuantizedTable"), 1) << graph.table();
    EXPECT_EQ(graph.nodes().size(), 4u) << graph.table();
    NDArray x({256});
    for (int i = 0; i < 256; ++i) x.data<float>()[i] = 0.05f * static_cast<float>(i - 90);
    EXPECT_EQ(steps_between(model, x, 0.013).share, 0);
  }
}

TEST(QuantizedImport, SumsProductsAndConcatenationsOfIntegersAreIntegers) {
  QuantizedBuilder model(13);
  model.input("x", {-1, 4, 3, 3}).output("y").round_trip("x", 0.03f, 100);
  model.node("GlobalAveragePool", {"x.dq"}, {"g"}).round_trip("g", 0.01f, 110);
  model.node("Add", {"x.dq", "x.dq"}, {"unused"});
  model.node("Sigmoid", {"g.dq"}, {"s"}).round_trip("s", 1 / 256.0f, 0);
  model.node("Mul", {"x.dq", "s.dq"}, {"m"}).round_trip("m", 0.02f, 90);
  model.node("Add", {"m.dq", "x.dq"}, {"a"}).node("Relu", {"a"}, {"ar"}).round_trip("ar", 0.03f, 0);
  model.node("Concat", {"ar.dq", "m.dq"}, {"c"}, {ModelBuilder::integer("axis", 1)}).round_trip("c", 0.04f, 60);
  model.node("Identity", {"c.dq"}, {"y"});
  quant::ConversionReport report;
  ImportOptions options;
  options.report = &report;
  nn::Graph graph = model.import_with(options);
  for (const char* type : {"QuantizedMul", "QuantizedAdd", "QuantizedGlobalAvgPool2d", "concat"})
    EXPECT_EQ(count(graph, type), 1) << graph.table();
  EXPECT_EQ(count(graph, "add") + count(graph, "mul") + count(graph, "sigmoid") + count(graph, "relu"), 0);
  EXPECT_THAT(report, IsEmpty());
  const Steps steps = steps_between(model, random_floats({2, 4, 3, 3}, 5, 2), 0.04);
  EXPECT_LE(steps.most, 1.01);
  EXPECT_LE(steps.share, 0.05);
}

// Differences, extremes of two values, means of neighbours on the same grid, padding by pixels, instance normalization.
TEST(QuantizedImport, WhatElseLiesBetweenProductsIsInteger) {
  QuantizedBuilder model(13);
  model.input("x", {-1, 4, 3, 3}).output("y").round_trip("x", 0.03f, 100);
  model.node("Sigmoid", {"x.dq"}, {"s"}).round_trip("s", 1 / 256.0f, 0);
  model.node("Sub", {"x.dq", "s.dq"}, {"d"}).round_trip("d", 0.04f, 90);
  model.node("Max", {"d.dq", "s.dq"}, {"m"}).round_trip("m", 0.02f, 10);
  model.node("Min", {"m.dq", "x.dq"}, {"n"}).round_trip("n", 0.03f, 80);
  model.initializer("scales", {4}, {1, 1, 2, 2})
      .node("Resize", {"n.dq", "", "scales"}, {"r"}, {ModelBuilder::text("mode", "linear")});
  model.quantize("r", "r.q", "n").dequantize("r.q", "r.dq", "n");
  model.integers("pads", {0, 0, 1, 1, 0, 0, 1, 0});
  model.node("Pad", {"r.dq", "pads"}, {"p"}, {ModelBuilder::text("mode", "reflect")});
  model.quantize("p", "p.q", "n").dequantize("p.q", "p.dq", "n");
  model.initializer("weight", {4}, {1, 2, 0.5f, -1}).initializer("bias", {4}, {0, 1, -1, 0.5f});
  model.node("InstanceNormalization", {"p.dq", "weight", "bias"}, {"i"}).round_trip("i", 0.04f, 120);
  model.node("Identity", {"i.dq"}, {"y"});
  quant::ConversionReport report;
  ImportOptions options;
  options.report = &report;
  nn::Graph graph = model.import_with(options);
  for (const char* type : {"QuantizedSub", "QuantizedMaximum", "QuantizedMinimum", "interpolate", "pad",
                           "QuantizedGroupNorm", "Dequantize"})
    EXPECT_EQ(count(graph, type), 1) << type << graph.table();
  EXPECT_EQ(count(graph, "sub") + count(graph, "maximum") + count(graph, "minimum") + count(graph, "GroupNorm"), 0);
  EXPECT_THAT(report, IsEmpty());
  const Steps steps = steps_between(model, random_floats({2, 4, 3, 3}, 5, 2), 0.04);
  EXPECT_LE(steps.most, 2.01);  // a tie of the resize may go the other way
  EXPECT_LE(steps.share, 0.05);
}

// No float is large enough for what integers would be multiplied by.
TEST(QuantizedImport, PairsOfExtremeScalesStayDequantized) {
  for (const char* op : {"Add", "Sub", "Mul", "Max", "Min"}) {
    SCOPED_TRACE(op);
    QuantizedBuilder model(13);
    model.input("x", {-1, 3}).output("y").round_trip("x", 1e30f, 100);
    model.node("Sigmoid", {"x.dq"}, {"s"}).round_trip("s", 1 / 256.0f, 0);
    model.node(op, {"x.dq", "s.dq"}, {"d"}).round_trip("d", 1e-30f, 90);
    model.node("Identity", {"d.dq"}, {"y"});
    quant::ConversionReport report;
    ImportOptions options;
    options.report = &report;
    nn::Graph graph = model.import_with(options), expected = model.dequantized();
    ASSERT_EQ(report.size(), 1u);
    EXPECT_EQ(report[0].name, "d");
    EXPECT_THAT(report[0].reason, HasSubstr("float32 cannot hold"));
    const Tensor x(random_floats({4, 3}, 6, 3e31f));
    EXPECT_EQ(graph(x).data().to_vector<float>(), expected(x).data().to_vector<float>());
  }
}

// Where edges are excluded or cut, outputs of Resize are no means.
TEST(QuantizedImport, ResizesThatAreNoMeansStayDequantized) {
  QuantizedBuilder model(13);
  model.input("x", {-1, 2, 3, 3}).output("y").round_trip("x", 0.03f, 100);
  model.initializer("scales", {4}, {1, 1, 2, 2})
      .node("Resize", {"x.dq", "", "scales"}, {"r"},
            {ModelBuilder::text("mode", "linear"), ModelBuilder::integer("exclude_outside", 1)});
  model.quantize("r", "r.q", "x").dequantize("r.q", "y", "x");
  quant::ConversionReport report;
  ImportOptions options;
  options.report = &report;
  nn::Graph graph = model.import_with(options), expected = model.dequantized();
  EXPECT_THAT(report, testing::SizeIs(1));
  const Tensor x(random_floats({2, 2, 3, 3}, 6));
  EXPECT_EQ(graph(x).data().to_vector<float>(), expected(x).data().to_vector<float>());
}

// QLinearMatMul, QLinearConv, ...: int8 in and out.
TEST(QuantizedImport, OpsOnIntegersAreTheFloatOnesBetweenQuantizers) {
  QuantizedBuilder model(13);
  model.input("x", {-1, 3}, kInt8).output("y", kInt8).parameters("x", 0.5f, 1, kInt8).parameters("y", 2, -3, kInt8);
  model.integers_of<int8_t>("w", {3, 2}, kInt8, {1, 2, 3, -4, 5, 6}).parameters("w", 0.25f, 0, kInt8);
  model.node("QLinearMatMul", {"x", "x.s", "x.z", "w", "w.s", "w.z", "y.s", "y.z"}, {"y"});
  nn::Graph graph = model.import();
  EXPECT_EQ(count(graph, "QuantizedLinear"), 1) << graph.table();
  const Tensor y = graph(Tensor(NDArray::from_vector<int8_t>({127, 100, -128, 1, 1, 1}, {2, 3})));
  EXPECT_EQ(y.dtype(), DType::int8);
  // 0.0625 * ((126, 99, -129) times the columns) - 3, and nothing but the zero point.
  EXPECT_THAT(y.data().to_vector<int>(), ElementsAre(-17, -60, -3, -3));
}

TEST(QuantizedImport, IntegerProductsAreExact) {
  QuantizedBuilder model(13);
  const int64_t k = 1000;
  model.input("x", {1, k}, kUint8).output("y", kInt32);
  model.integers_of<uint8_t>("w", {k, 1}, kUint8, std::vector<uint8_t>(k, 255));
  model.integers_of<uint8_t>("z", {}, kUint8, {1});
  model.node("MatMulInteger", {"x", "w", "z"}, {"y"});
  NDArray x = NDArray::full({1, k}, 255, DType::uint8);
  x.data<uint8_t>()[0] = 254;
  EXPECT_THAT(model.import()(Tensor(x)).data().to_vector<int>(), ElementsAre(254 * 255 * 1000 - 255));
}

// As quantize_dynamic() of ONNX Runtime writes them: the same bits as the ops give.
TEST(QuantizedImport, DynamicallyQuantizedProductsBecomeDynamicLayers) {
  QuantizedBuilder model(13);
  const NDArray x = random_floats({3, 2, 40}, 11);
  std::mt19937 rng(12);
  std::vector<uint8_t> w(40 * 5);
  for (uint8_t& v : w) v = static_cast<uint8_t>(rng());
  model.input("x", {-1, 2, 40}).output("y").integers_of("w", {40, 5}, kUint8, w).parameters("w", 0.01f, 128);
  model.initializer("b", {5}, {1, 2, 3, 4, 5}).node("DynamicQuantizeLinear", {"x"}, {"q", "s", "z"});
  model.node("MatMulInteger", {"q", "w", "z", "w.z"}, {"sums"}).node("Mul", {"s", "w.s"}, {"scale"});
  model.node("Cast", {"sums"}, {"floats"}, {ModelBuilder::integer("to", 1)});
  model.node("Mul", {"floats", "scale"}, {"scaled"}).node("Add", {"scaled", "b"}, {"y"});
  nn::Graph graph = model.import();
  EXPECT_THAT(types_of(graph), ElementsAre("DynamicQuantizedLinear", "add"));
  EXPECT_EQ(graph(Tensor(x)).data().to_vector<float>(), model.dequantized()(Tensor(x)).data().to_vector<float>());
}

TEST(QuantizedImport, ScaledSumsBecomeIntegerLayers) {
  QuantizedBuilder model(13);
  std::mt19937 rng(13);
  std::vector<int8_t> w(40 * 5);
  for (int8_t& v : w) v = static_cast<int8_t>(rng());
  model.input("x", {-1, 40}).output("y").integers_of("w", {40, 5}, kInt8, w).parameters("x", 0.02f, 99);
  model.quantize("x", "q", "x").node("MatMulInteger", {"q", "w", "x.z"}, {"sums"});
  model.integers_of<int32_t>("b", {5}, kInt32, {100, -2000, 3000, 0, 7}).node("Add", {"sums", "b"}, {"biased"});
  model.initializer("m", {5}, {0.1f, 0.2f, 0.3f, 0.4f, 0.7f});
  model.node("Cast", {"biased"}, {"floats"}, {ModelBuilder::integer("to", 1)});
  model.node("Mul", {"floats", "m"}, {"y"});
  nn::Graph graph = model.import();
  EXPECT_THAT(types_of(graph), ElementsAre("Quantize", "QuantizedLinear"));
  const Tensor x = random_floats({7, 40}, 14);
  EXPECT_EQ(graph(x).data().to_vector<float>(), model.dequantized()(x).data().to_vector<float>());
}

// Bounds between a quantize and a dequantize, which integer layers have for their relu.
TEST(QuantizedImport, BoundsOfIntegersAreKept) {
  QuantizedBuilder model(13);
  model.input("x", {-1}).output("y").parameters("x", 0.1f, -10, kInt8).quantize("x", "q", "x");
  model.integers_of<int8_t>("low", {}, kInt8, {-20}).integers_of<int8_t>("high", {}, kInt8, {30});
  model.node("Clip", {"q", "low", "high"}, {"c"}).dequantize("c", "y", "x");
  nn::Graph graph = model.import();
  EXPECT_THAT(types_of(graph), Each(AnyOf("Quantize", "QuantizedClamp", "Dequantize"))) << graph.table();
  const auto y = graph(Tensor(NDArray::from_vector<float>({-9, 0.2f, 9}))).data().to_vector<float>();
  EXPECT_FLOAT_EQ(y[0], -1);
  EXPECT_FLOAT_EQ(y[1], 0.2f);
  EXPECT_FLOAT_EQ(y[2], 4);
}

// The zero point of [-1, 1] is 127: 127.49999 in float32.
TEST(QuantizedImport, DynamicRangesHoldZero) {
  QuantizedBuilder model(13);
  model.input("x", {-1}).output("q", kUint8).output("s").output("z", kUint8);
  model.node("DynamicQuantizeLinear", {"x"}, {"q", "s", "z"});
  nn::Graph graph = model.import();
  const auto answers = graph.run({{"x", NDArray::from_vector<float>({-1, 0, 0.5f, 1})}});
  EXPECT_THAT(answers[0].second.data().to_vector<int>(), ElementsAre(0, 127, 191, 254));
  EXPECT_EQ(answers[2].second.data().item<int>(), 127);
  const auto zeros = graph.run({{"x", NDArray::zeros({2})}});
  EXPECT_EQ(zeros[1].second.data().item<float>(), 1);
}

TEST(QuantizedImport, BlocksOfWeightsAloneAreWeightOnlyLayers) {
  const int64_t n = 3, k = 40, block = 16;
  std::mt19937 rng(9);
  std::vector<uint8_t> u(static_cast<size_t>(n * k)), bytes(static_cast<size_t>(n * 3 * block / 2));
  std::vector<float> scales(static_cast<size_t>(n * 3));
  for (uint8_t& v : u) v = static_cast<uint8_t>(rng() % 16);
  for (float& s : scales) s = 0.01f * static_cast<float>(1 + rng() % 9);
  scales[4] = -0.02f;
  for (int64_t o = 0; o < n; ++o)
    for (int64_t i = 0; i < k; ++i)
      bytes[static_cast<size_t>(o * 24 + i / 2)] |=
          static_cast<uint8_t>(u[static_cast<size_t>(o * k + i)] << (i % 2 * 4));
  const std::vector<uint8_t> zero_points{0x78, 0x09, 0x81, 0x0f, 0x00, 0x08};

  QuantizedBuilder model;
  model.input("x", {-1, k}).output("y");
  model.integers_of("b", {n, 3, block / 2}, kUint8, bytes).initializer("s", {n * 3}, scales);
  model.integers_of("z", {n * 2}, kUint8, zero_points);
  const std::vector<ModelBuilder::Attribute> sizes{ModelBuilder::integer("K", k), ModelBuilder::integer("N", n),
                                                   ModelBuilder::integer("bits", 4),
                                                   ModelBuilder::integer("block_size", block)};
  model.node("MatMulNBits", {"x", "b", "s", "z"}, {"y"}, sizes, "com.microsoft");
  nn::Graph graph = model.import();
  EXPECT_EQ(count(graph, "WeightOnlyLinear"), 1);
  const NDArray x = random_floats({2, k}, 4);
  const auto y = graph(Tensor(x)).data().to_vector<double>();
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t o = 0; o < n; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        const int64_t g = i / block;
        const int zero = (zero_points[static_cast<size_t>(o * 2 + g / 2)] >> (g % 2 * 4)) & 15;
        sum += double{x.data<float>()[row * k + i]} * double{scales[static_cast<size_t>(o * 3 + g)]} *
               (u[static_cast<size_t>(o * k + i)] - zero);
      }
      EXPECT_NEAR(y[static_cast<size_t>(row * n + o)], sum, 2e-3);
    }
}

// Signed 4-bit weights [in, out] in blocks along the inputs, as opset 21 has them.
TEST(QuantizedImport, DequantizedBlocksBeforeAProductAreWeightOnlyLayers) {
  QuantizedBuilder model(21);
  const int64_t k = 32;
  model.input("x", {-1, k}).output("y");
  ::onnx::TensorProto& w = *model.proto().mutable_graph()->add_initializer();
  w.set_name("w");
  w.set_data_type(22);
  w.add_dims(k);
  w.add_dims(2);
  std::string bytes;
  for (int i = 0; i < k; ++i) bytes += static_cast<char>((i % 16) | (7 << 4));  // column 0: 0..7, -8..-1; column 1: 7
  w.set_raw_data(bytes);
  model.initializer("s", {2, 2}, {1, 2, 10, 20});
  model.node("DequantizeLinear", {"w", "s"}, {"w.dq"},
             {ModelBuilder::integer("axis", 0), ModelBuilder::integer("block_size", 16)});
  model.node("MatMul", {"x", "w.dq"}, {"y"});
  nn::Graph graph = model.import();
  EXPECT_EQ(count(graph, "WeightOnlyLinear"), 1) << graph.table();
  NDArray x = NDArray::zeros({2, k});
  x.data<float>()[9] = 1;       // -7 and 7 of the first block
  x.data<float>()[k + 17] = 1;  // 1 and 7 of the second
  const auto y = graph(Tensor(x)).data().to_vector<float>();
  EXPECT_NEAR(y[0], -7, 1e-3);
  EXPECT_NEAR(y[1], 14, 1e-3);
  EXPECT_NEAR(y[2], 10, 1e-3);
  EXPECT_NEAR(y[3], 140, 1e-2);
}

TEST(QuantizedImport, PackedAndSmallElementsAreChecked) {
  const auto tensor = [](int type, const std::vector<int64_t>& dims, const std::string& bytes) {
    TensorProto t;
    t.set_name("t");
    t.set_data_type(type);
    for (const int64_t size : dims) t.add_dims(size);
    t.set_raw_data(bytes);
    return t;
  };
  const auto values = [&](int type, int64_t n, const std::string& bytes) {
    return array_of(tensor(type, {n}, bytes), ".").to_vector<float>();
  };
  EXPECT_THAT(values(21, 3, "\x21\x0f"), ElementsAre(1, 2, 15));
  EXPECT_THAT(values(22, 3, "\x98\x0f"), ElementsAre(-8, -7, -1));
  EXPECT_THAT(values(25, 5, std::string("\xe4\x02", 2)), ElementsAre(0, 1, 2, 3, 2));
  EXPECT_THAT(values(26, 4, "\xe4"), ElementsAre(0, 1, -2, -1));
  EXPECT_THAT(values(17, 2, "\x38\x7e"), ElementsAre(1, 448));
  EXPECT_THAT(values(23, 2, "\xf1"), ElementsAre(0.5f, -6));
  EXPECT_EQ(array_of(tensor(22, {2}, "\x21"), ".").dtype(), DType::int8);
  TensorProto listed = tensor(21, {3}, "");
  listed.clear_raw_data();
  listed.add_int32_data(0x21);
  listed.add_int32_data(0x0f);
  EXPECT_THAT(array_of(listed, ".").to_vector<int>(), ElementsAre(1, 2, 15));
  EXPECT_THROW(array_of(tensor(21, {3}, "\x21"), "."), FormatError);
  EXPECT_THROW(array_of(tensor(17, {3}, "\x21"), "."), FormatError);
  EXPECT_THROW(array_of(tensor(21, {int64_t{1} << 62, 2}, ""), "."), FormatError);
}

}  // namespace
}  // namespace thimble::onnx
