// Cases of imported quantized models that are easily got wrong: integer layers against the dequantized arithmetic.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/onnx/model_builder.h"
#include <thimble/core/random.h>
#include <thimble/serialization/onnx/import.h>

namespace thimble::onnx {
namespace {

using ::onnx::TensorProto;
using ::testing::ElementsAre;

NDArray normal_values(const Shape& shape, uint64_t seed) {
  Generator generator(seed);
  return randn(shape, generator);
}

// Scale NAME.s and zero point NAME.z, uint8.
ModelBuilder& parameters(ModelBuilder& model, const std::string& name, float scale, uint8_t zero_point) {
  model.initializer(name + ".s", {}, {scale});
  return model.tensor<uint8_t>(name + ".z", {}, TensorProto::UINT8, {zero_point});
}

// A value x as x.dq, quantized.
ModelBuilder& rounded(ModelBuilder& model, const std::string& x, float scale, uint8_t zero_point) {
  parameters(model, x, scale, zero_point);
  model.node("QuantizeLinear", {x, x + ".s", x + ".z"}, {x + ".q"});
  return model.node("DequantizeLinear", {x + ".q", x + ".s", x + ".z"}, {x + ".dq"});
}

nn::Graph floats_of(const ModelBuilder& model) {
  ImportOptions options;
  options.integer_layers = false;
  return Importer(const_cast<ModelBuilder&>(model).proto(), ".", options).run();
}

int number_of(const nn::Graph& graph, const std::string& type) {
  int found = 0;
  for (const nn::Node* node : graph.nodes()) found += graph.is_layer(node, type) || graph.is_op(node, type) ? 1 : 0;
  return found;
}

// All outputs of the integer graph are the dequantized one's, within so much.
void expect_dequantized(const ModelBuilder& model, const nn::NamedTensors& inputs, double most = 0) {
  nn::Graph integers = model.import(), floats = floats_of(model);
  const nn::NamedTensors got = integers.run(inputs), expected = floats.run(inputs);
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].second.shape(), expected[i].second.shape()) << integers.table();
    EXPECT_EQ(got[i].second.dtype(), expected[i].second.dtype());
    const auto a = got[i].second.data().to_vector<double>(), b = expected[i].second.data().to_vector<double>();
    for (size_t k = 0; k < a.size(); ++k)
      if (a[k] != b[k]) {  // not of infinities
        EXPECT_NEAR(a[k], b[k], most) << got[i].first << ' ' << k;
      }
  }
}

// A number of more dimensions than the value makes the result have as many.
TEST(QuantizedCases, NumbersOfMoreDimensionsThanTheValue) {
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{1, 1}, Shape{1, 1, 1}}) {
    ModelBuilder model(14);
    model.input("x", {-1, 4}).output("y").initializer("n", shape, {0.5f});
    rounded(model, "x", 0.05f, 90).node("Mul", {"x.dq", "n"}, {"f"});
    rounded(model, "f", 0.02f, 100).node("Identity", {"f.dq"}, {"y"});
    expect_dequantized(model, {{"x", normal_values({3, 4}, 1)}});
    EXPECT_EQ(number_of(model.import(), "QuantizedTable"), shape.ndim() <= 2 ? 1 : 0);

    ModelBuilder bounds(14);
    bounds.input("x", {-1, 4}).output("y");
    bounds.tensor<uint8_t>("low", shape, TensorProto::UINT8, {80});
    parameters(bounds, "x", 0.05f, 90).node("QuantizeLinear", {"x", "x.s", "x.z"}, {"q"});
    bounds.node("Max", {"q", "low"}, {"c"}).node("DequantizeLinear", {"c", "x.s", "x.z"}, {"y"});
    expect_dequantized(bounds, {{"x", normal_values({3, 4}, 1)}});

    ModelBuilder sums(14);
    sums.input("x", {-1, 4}).output("y").initializer("n", shape, {0.5f});
    sums.tensor<int8_t>("w", {4, 2}, TensorProto::INT8, {1, 2, 3, 4, 5, 6, 7, -8});
    parameters(sums, "x", 0.05f, 90).node("QuantizeLinear", {"x", "x.s", "x.z"}, {"q"});
    sums.node("MatMulInteger", {"q", "w", "x.z"}, {"s"});
    sums.node("Cast", {"s"}, {"f"}, {ModelBuilder::integer("to", TensorProto::FLOAT)});
    sums.node("Mul", {"f", "n"}, {"y"});
    expect_dequantized(sums, {{"x", normal_values({3, 4}, 1)}}, 1e-4);
    EXPECT_EQ(number_of(sums.import(), "QuantizedLinear"), shape.ndim() <= 2 ? 1 : 0);
  }
}

TEST(QuantizedCases, PaddingByAValueThatIsComputed) {
  ModelBuilder model(14);
  model.input("x", {-1, 4}).input("value", {}).output("y").integers("pads", {0, 1, 0, 2});
  rounded(model, "x", 0.05f, 90).node("Pad", {"x.dq", "pads", "value"}, {"p"});
  rounded(model, "p", 0.05f, 90).node("Identity", {"p.dq"}, {"y"});
  expect_dequantized(model, {{"x", normal_values({3, 4}, 1)}, {"value", NDArray::full({}, 1.5)}});
}

// The least integer is as good as minus infinity for a maximum alone.
TEST(QuantizedCases, PaddingByMinusInfinity) {
  ModelBuilder model(14);
  model.input("x", {-1, 1, 3, 3}).output("p").output("y").integers("pads", {0, 0, 1, 1, 0, 0, 1, 1});
  model.initializer("low", {}, {-std::numeric_limits<float>::infinity()});
  rounded(model, "x", 0.05f, 90).node("Pad", {"x.dq", "pads", "low"}, {"p"});
  model.node("MaxPool", {"p"}, {"y"}, {ModelBuilder::list("kernel_shape", {3, 3})});
  expect_dequantized(model, {{"x", normal_values({2, 1, 3, 3}, 1)}});
  ModelBuilder alone(14);
  alone.input("x", {-1, 1, 3, 3}).output("p").integers("pads", {0, 0, 1, 1, 0, 0, 1, 1});
  alone.initializer("low", {}, {-std::numeric_limits<float>::infinity()});
  rounded(alone, "x", 0.05f, 90).node("Pad", {"x.dq", "pads", "low"}, {"p"});
  expect_dequantized(alone, {{"x", normal_values({2, 1, 3, 3}, 1)}});
}

TEST(QuantizedCases, IntegersAreQuantizedAsWell) {
  ModelBuilder model(14);
  model.input("a", {-1}, TensorProto::INT32).output("y");
  model.tensor<int32_t>("two", {}, TensorProto::INT32, {2});
  parameters(model, "q", 3, 100).node("Mul", {"a", "two"}, {"b"});
  model.node("QuantizeLinear", {"b", "q.s", "q.z"}, {"c"}).node("DequantizeLinear", {"c", "q.s", "q.z"}, {"y"});
  expect_dequantized(model, {{"a", NDArray::from_vector<int32_t>({-1000, -3, 0, 4, 5, 70, 1000})}});
}

// The layer's scales are above 0; whatever the file's are.
TEST(QuantizedCases, ScalesOfWeightsMayBeNegativeOrZero) {
  for (const std::vector<float>& scales : {std::vector<float>{0.1f, -0.2f}, {0, 0.1f}, {1e-42f, 0.1f}}) {
    ModelBuilder model(14);
    model.input("x", {-1, 3}).output("y").tensor<int8_t>("w", {2, 3}, TensorProto::INT8, {1, -2, 3, 4, 5, -128});
    model.initializer("w.s", {2}, scales).tensor<int8_t>("w.z", {2}, TensorProto::INT8, {0, 0});
    model.node("DequantizeLinear", {"w", "w.s", "w.z"}, {"wf"}, {ModelBuilder::integer("axis", 0)});
    rounded(model, "x", 0.05f, 90).node("Gemm", {"x.dq", "wf"}, {"f"}, {ModelBuilder::integer("transB", 1)});
    rounded(model, "f", 0.5f, 100).node("Identity", {"f.dq"}, {"y"});
    expect_dequantized(model, {{"x", normal_values({5, 3}, 1)}}, 0.51);
  }
}

TEST(QuantizedCases, BlocksOfWeightsMayHaveAnySize) {
  for (const int64_t block : {1, 2, 3, 5, 12, 16, 33, 40})
    for (const bool is_quantized : {false, true}) {
      SCOPED_TRACE(block);
      const int64_t in = 33, out = 5, groups = (in + block - 1) / block;
      std::vector<int8_t> w;
      for (int64_t i = 0; i < in * out; ++i) w.push_back(static_cast<int8_t>(i * 37 % 255 - 127));
      std::vector<float> scales;
      for (int64_t i = 0; i < groups * out; ++i) scales.push_back(0.01f * static_cast<float>(1 + i % 5));
      ModelBuilder model(21);
      model.input("x", {-1, in}).output("y").tensor<int8_t>("w", {in, out}, TensorProto::INT8, w);
      model.initializer("w.s", {groups, out}, scales);
      model.node("DequantizeLinear", {"w", "w.s"}, {"wf"},
                 {ModelBuilder::integer("axis", 0), ModelBuilder::integer("block_size", block)});
      if (is_quantized) {
        rounded(model, "x", 0.05f, 90).node("MatMul", {"x.dq", "wf"}, {"f"});
        rounded(model, "f", 0.5f, 100).node("Identity", {"f.dq"}, {"y"});
      } else {
        model.node("MatMul", {"x", "wf"}, {"y"});
      }
      expect_dequantized(model, {{"x", normal_values({4, in}, 2)}}, is_quantized ? 0.51 : 0.02);
    }
}

// Without an axis it is over the last dimension, whatever its opset.
TEST(QuantizedCases, QLinearSoftmaxIsOverTheLastDimension) {
  ModelBuilder model(14);
  model.input("x", {-1, 2, 3}, TensorProto::UINT8).output("y", TensorProto::UINT8);
  parameters(model, "x", 0.1f, 3);
  parameters(model, "y", 1 / 256.0f, 0);
  model.node("QLinearSoftmax", {"x", "x.s", "x.z", "y.s", "y.z"}, {"y"}, {ModelBuilder::integer("opset", 12)},
             "com.microsoft");
  const NDArray x = NDArray::full({2, 2, 3}, 9, DType::uint8);
  EXPECT_THAT(model.import()(Tensor(x)).data().to_vector<int>(), ::testing::Each(85));
}

// What is read by two, or is an output, too.
TEST(QuantizedCases, ValuesThatSeveralRead) {
  ModelBuilder model(14);
  model.input("x", {-1, 3}).output("y").output("f").output("r").output("x.q", TensorProto::UINT8);
  model.tensor<int8_t>("w", {2, 3}, TensorProto::INT8, {1, -2, 3, 4, 5, -128}).initializer("w.s", {}, {0.1f});
  model.tensor<int8_t>("w.z", {}, TensorProto::INT8, {3});
  model.node("DequantizeLinear", {"w", "w.s", "w.z"}, {"wf"}).node("Transpose", {"wf"}, {"wt"});
  rounded(model, "x", 0.05f, 90).node("MatMul", {"x.dq", "wt"}, {"f"}).node("Relu", {"f"}, {"r"});
  rounded(model, "r", 0.25f, 0).node("Add", {"r.dq", "f"}, {"y"});
  expect_dequantized(model, {{"x", normal_values({5, 3}, 1)}}, 0.26);
}

// int8 and uint8 side by side, each with its own parameters.
TEST(QuantizedCases, SignedAndUnsignedValuesAreAddedJoinedAndMultiplied) {
  for (const char* op : {"Add", "Mul", "Concat"}) {
    SCOPED_TRACE(op);
    ModelBuilder model(14);
    model.input("a", {-1, 3}).input("b", {-1, 3}).output("y");
    rounded(model, "a", 0.05f, 90);
    model.initializer("b.s", {}, {0.03f}).tensor<int8_t>("b.z", {}, TensorProto::INT8, {-20});
    model.node("QuantizeLinear", {"b", "b.s", "b.z"}, {"b.q"})
        .node("DequantizeLinear", {"b.q", "b.s", "b.z"}, {"b.dq"});
    const bool joins = std::string(op) == "Concat";
    model.node(op, {"a.dq", "b.dq"}, {"f"},
               joins ? std::vector{ModelBuilder::integer("axis", -1)} : std::vector<ModelBuilder::Attribute>{});
    rounded(model, "f", 0.04f, 111).node("Identity", {"f.dq"}, {"y"});
    expect_dequantized(model, {{"a", normal_values({20, 3}, 1)}, {"b", normal_values({20, 3}, 2)}}, 0.0401);
    EXPECT_EQ(number_of(model.import(), "quantize_linear"), 0);
  }
}

}  // namespace
}  // namespace thimble::onnx
