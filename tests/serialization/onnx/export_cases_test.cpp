// Cases of exported graphs that are easily got wrong: what a graph gives before it is exported is what it gives when it
// has been imported again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/onnx/model_builder.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {
namespace {

using ::onnx::ModelProto;
using ::onnx::TensorProto;
using ::testing::HasSubstr;

NDArray normals(const Shape& shape, uint64_t seed = 1) {
  Generator generator(seed);
  return randn(shape, generator);
}

ModelProto model_of(const nn::Graph& graph, int64_t opset = 0) { return Exporter(graph, {.opset = opset}).run(); }

// What is said when the graph is refused.
std::string why_refused(const nn::Graph& graph) {
  try {
    model_of(graph);
  } catch (const ValueError& e) {
    return e.what();
  }
  return "";
}

// Exported and imported again it gives the same, to so many parts of each value.
void expect_same_again(const nn::Graph& graph, const nn::NamedTensors& inputs, double tolerance = 0,
                       int64_t opset = 0) {
  nn::Graph before = graph.clone(), again = Importer(model_of(graph, opset), ".").run();
  const nn::NamedTensors expected = before.run(inputs), got = again.run(inputs);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].first, expected[i].first);
    ASSERT_EQ(got[i].second.shape(), expected[i].second.shape());
    EXPECT_EQ(got[i].second.dtype(), expected[i].second.dtype());
    const auto a = got[i].second.data().to_vector<double>(), b = expected[i].second.data().to_vector<double>();
    for (size_t k = 0; k < a.size(); ++k) EXPECT_NEAR(a[k], b[k], tolerance * (1 + std::abs(b[k]))) << k;
  }
}

nn::Node* add_example_input(nn::Graph& graph, const std::string& name, const NDArray& example) {
  nn::Node* input = graph.add_input(name);
  input->attributes = nn::sample_attributes(Tensor(example));
  return input;
}

// One op of one input.
nn::Graph graph_of_op(const std::string& op, const Attributes& attributes, const NDArray& example) {
  nn::Graph graph;
  nn::Node* x = add_example_input(graph, "x", example);
  graph.set_output(graph.add_op("y", op, attributes, {x}));
  return graph;
}

// A Gemm has the weight one way, a MatMul the other.
struct SharedLinear : nn::Module {
  nn::Submodule<nn::Linear> fc{this, "fc", 4, 4};

  Tensor forward(const Tensor& x) override { return fc(reshape(fc(reshape(x, {-1, 4})), {-1, 3, 4})); }
};

TEST(OnnxExportCases, ALayerMayBeCalledWithMatricesAndWithMore) {
  manual_seed(1);
  SharedLinear model;
  const nn::Graph graph = nn::trace(model.eval(), Tensor(normals({2, 3, 4})));
  expect_same_again(graph, {{graph.inputs()[0]->name, Tensor(normals({2, 3, 4}, 2))}}, 1e-6);
}

struct SharedNorm : nn::Module {
  nn::Submodule<nn::GroupNorm> norm{this, "norm", 2, 4};

  Tensor forward(const Tensor& x) override { return norm(reshape(norm(x), {-1, 4, 3, 2})); }
};

TEST(OnnxExportCases, ANormalizationMayBeCalledWithRowsAndWithImages) {
  SharedNorm model;
  model.norm->weight.set_data(NDArray::from_vector<float>({1, 2, 3, 4}));
  model.norm->bias.set_data(NDArray::from_vector<float>({4, 3, 2, 1}));
  const nn::Graph graph = nn::trace(model.eval(), Tensor(normals({2, 4, 6})));
  for (const int64_t opset : {17, 21})
    expect_same_again(graph, {{graph.inputs()[0]->name, Tensor(normals({3, 4, 6}, 2))}}, 1e-5, opset);
}

// ONNX's Mod of floats has the dividend's sign; a - floor(a / b) * b loses all digits of a large quotient.
TEST(OnnxExportCases, RemaindersOfLargeQuotientsKeepTheirDigits) {
  nn::Graph graph;
  nn::Node* a = add_example_input(graph, "a", NDArray::zeros({1}));
  nn::Node* b = add_example_input(graph, "b", NDArray::zeros({1}));
  graph.set_output(graph.add_op("y", "remainder", {}, {a, b}));
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor x = NDArray::from_vector<float>({1e8f, -1e8f, 5, -5, 6, -6, 5, -5, 0, -0.0f});
  const Tensor y = NDArray::from_vector<float>({0.3f, 0.3f, -3, 3, 3, -3, infinity, -infinity, 2, -2});
  expect_same_again(graph, {{"a", x}, {"b", y}});
}

TEST(OnnxExportCases, SoftplusIsALineAboveItsThreshold) {
  const Tensor x = NDArray::from_vector<float>({-3, 0, 0.9f, 1.1f, 2, 30}, {6, 1});
  for (const double beta : {1.0, 2.0})
    expect_same_again(graph_of_op("softplus", {{"beta", beta}, {"threshold", 1.5}}, x.data()), {{"x", x}}, 1e-6);
}

TEST(OnnxExportCases, NumbersAreNegatedAsConditions) {
  for (const DType dtype : {DType::float32, DType::uint8, DType::int64, DType::bool_}) {
    const Tensor x = NDArray::from_vector<float>({0, 1, 2, 0}, {4, 1}).to(dtype);
    const ModelProto model = model_of(graph_of_op("logical_not", {}, x.data()));
    EXPECT_EQ(model.graph().node_size(), dtype == DType::bool_ ? 1 : 2);  // Not is of bools alone
    expect_same_again(graph_of_op("logical_not", {}, x.data()), {{"x", x}});
  }
}

// Of integers without a sign.
TEST(OnnxExportCases, ShiftsOfSignedIntegersAreRefused) {
  const auto graph_for = [](DType dtype) {
    nn::Graph graph;
    nn::Node* a = add_example_input(graph, "a", NDArray::zeros({1}, dtype));
    nn::Node* b = add_example_input(graph, "b", NDArray::zeros({1}, dtype));
    graph.set_output(graph.add_op("y", "bitwise_left_shift", {}, {a, b}));
    return graph;
  };
  EXPECT_THAT(why_refused(graph_for(DType::int32)), HasSubstr("bitwise_left_shift ('y': of int32, which has a sign)"));
  EXPECT_EQ(why_refused(graph_for(DType::uint32)), "");
}

// The least opset that has it all is chosen, not asked for.
TEST(OnnxExportCases, TheOpsetIsAsHighAsOpsNeed) {
  const NDArray image = normals({1, 2, 6, 6}), ints = NDArray::full({1, 4}, 5, DType::int32);
  const Attributes dilated{{"kernel_size", std::vector<int64_t>{2, 2}},
                           {"stride", std::vector<int64_t>{1, 1}},
                           {"padding", std::vector<int64_t>{0, 0}},
                           {"ceil_mode", false},
                           {"count_include_pad", true},
                           {"dilation", std::vector<int64_t>{2, 2}}};
  const Attributes lp{{"p", 2.0},
                      {"kernel_size", std::vector<int64_t>{2, 2}},
                      {"stride", std::vector<int64_t>{2, 2}},
                      {"padding", std::vector<int64_t>{0, 0}},
                      {"ceil_mode", true},
                      {"dilation", std::vector<int64_t>{2, 2}}};
  const Attributes around{{"padding", std::vector<int64_t>{1, 1}}, {"mode", "circular"}};
  const Attributes wide{{"mode", "linear"}, {"scales", std::vector<double>{1, 1, 0.5, 0.5}}, {"antialias", true}};
  const struct {
    const char* op;
    Attributes attributes;
    NDArray x;
    int64_t opset;
  } cases[] = {
      {"avg_pool2d", dilated, image, 19}, {"bitwise_not", {}, ints, 18}, {"bitwise_not", {}, ints.to(DType::bool_), 17},
      {"interpolate", wide, image, 18},   {"lp_pool2d", lp, image, 18},  {"pad", around, image, 19}};
  for (const auto& c : cases) {
    const nn::Graph graph = graph_of_op(c.op, c.attributes, c.x);
    const ModelProto model = model_of(graph);
    EXPECT_EQ(model.opset_import(0).version(), c.opset) << c.op;
    expect_same_again(graph, {{"x", Tensor(c.x)}}, 1e-6);
  }
}

TEST(OnnxExportCases, AnInputMayHaveADefault) {
  nn::Graph graph;
  nn::Node* x = add_example_input(graph, "x", NDArray::zeros({1, 2}));
  nn::Node* scale = graph.add_input("scale", Tensor(NDArray::from_vector<float>({2, 3})));
  graph.set_output(graph.add_op("y", "mul", {}, {x, scale}));
  const Tensor rows = NDArray::from_vector<float>({1, 2, 3, 4}, {2, 2});
  expect_same_again(graph, {{"x", rows}});
  expect_same_again(graph, {{"x", rows}, {"scale", NDArray::from_vector<float>({5, 7})}});
  const ModelProto model = model_of(graph);
  EXPECT_EQ(model.graph().input(1).type().tensor_type().shape().dim(0).dim_value(), 2);
}

// A scale that is computed has no place in a Resize of sizes.
TEST(OnnxExportCases, AttributesThatAreComputedAreWrittenOrRefused) {
  nn::Graph graph;
  nn::Node* x = add_example_input(graph, "x", normals({1, 2, 4, 4}));
  nn::Node* scales = graph.add_tensor("scales", Tensor(NDArray::from_vector<float>({1, 1, 2, 2})));
  graph.set_output(
      graph.add_op("y", "interpolate", {{"mode", "nearest"}, {nn::kAttributeInputs, "scales"}}, {x, scales}));
  EXPECT_THAT(why_refused(graph), HasSubstr("its attribute 'scales' is computed"));
}

TEST(OnnxExportCases, OutputsMayBeInputsAndConstants) {
  nn::Graph graph;
  nn::Node* x = add_example_input(graph, "x", NDArray::zeros({1, 2}));
  nn::Node* known = graph.add_tensor("known", Tensor(NDArray::from_vector<float>({2, 3})));
  nn::Node* y = graph.add_op("y", "add", {}, {x, known});
  graph.set_outputs({{"x", x}, {"again", x}, {"constant", known}, {"y", y}, {"twice", y}});
  expect_same_again(graph, {{"x", Tensor(NDArray::from_vector<float>({1, 2, 3, 4}, {2, 2}))}});
}

// From the end, also where it begins in front of the beginning: NumPy takes nothing then, ONNX the first.
TEST(OnnxExportCases, SlicesGoBackwards) {
  const Tensor x(normals({2, 5}));
  for (const int64_t start : {10, 4, 2, -1, -5, -7})
    for (const int64_t stop : {-10, -6, -5, -3, 0, 1, 7})
      for (const int64_t step : {-1, -2, 1, 3})
        for (const bool clips : {false, true}) {
          SCOPED_TRACE(str(start, ':', stop, ':', step));
          Attributes a{{"axis", int64_t{-1}}, {"start", start}, {"stop", stop}, {"step", step}};
          if (clips) a.set("clip_start", true);
          const nn::Graph graph = graph_of_op("slice", a, x.data());
          if (why_refused(graph).empty())
            expect_same_again(graph, {{"x", x}});
          else
            EXPECT_TRUE(step < 0 && start < -5);
        }
}

TEST(OnnxExportCases, CropsOfSomeAxesAreCropsOfAll) {
  const Attributes crop{{"mode", "linear"},
                        {"coordinates", "tf_crop_and_resize"},
                        {"axes", std::vector<int64_t>{2, 3}},
                        {"scales", std::vector<double>{1, 2}},
                        {"roi", std::vector<double>{0.25, 0, 0.75, 1}},
                        {"extrapolation_value", 3.0}};
  const Tensor x(normals({2, 2, 5, 4}));
  expect_same_again(graph_of_op("interpolate", crop, x.data()), {{"x", x}}, 1e-6);
}

// Files lack tables: these are a Gather, which becomes a table again.
TEST(OnnxExportCases, TablesAreTablesAgain) {
  std::vector<uint8_t> table(256);
  for (size_t i = 0; i < 256; ++i) table[i] = static_cast<uint8_t>((i * 7 + 3) % 256);
  const quant::TensorQParams p{0.05f, 100, 8}, q{0.03f, 7, 8};
  nn::Graph graph;
  nn::Node* x = add_example_input(graph, "x", NDArray::zeros({1, 5}));
  nn::Node* integers = graph.add_layer("q", std::make_shared<quant::Quantize>(p), {x});
  nn::Node* mapped = graph.add_layer("table", std::make_shared<quant::QuantizedTable>(table), {integers});
  graph.set_output(graph.add_layer("y", std::make_shared<quant::Dequantize>(q), {mapped}));
  expect_same_again(graph, {{"x", Tensor(normals({4, 5}))}});
  nn::Graph again = Importer(model_of(graph), ".").run();
  int tables = 0;
  for (const nn::Node* node : again.nodes()) tables += again.is_layer(node, "QuantizedTable") ? 1 : 0;
  EXPECT_EQ(tables, 1) << again.table();
  EXPECT_EQ(again.nodes().size(), 4u) << again.table();
}

TEST(OnnxExportCases, Float64StaysFloat64) {
  nn::Graph graph;
  nn::Node* x = add_example_input(graph, "x", NDArray::zeros({1, 4}, DType::float64));
  nn::Node* y = x;
  for (const char* op : {"gelu", "relu6", "mish", "gelu_tanh", "silu"}) y = graph.add_op(op, op, {}, {y});
  y = graph.add_op("var", "var", {{"axes", std::vector<int64_t>{-1}}, {"keepdim", true}, {"correction", int64_t{0}}},
                   {y});
  graph.set_output(y);
  expect_same_again(graph, {{"x", Tensor(normals({3, 4}).to(DType::float64))}}, 1e-12);
}

// The graph is tried out on zeros, which some cannot take.
TEST(OnnxExportCases, InputsMayBeDivisors) {
  nn::Graph graph;
  nn::Node* a = add_example_input(graph, "a", NDArray::zeros({1}, DType::int64));
  nn::Node* b = add_example_input(graph, "b", NDArray::zeros({1}, DType::int64));
  graph.set_output(graph.add_op("y", "remainder", {}, {a, b}));
  const Tensor x = NDArray::from_vector<int64_t>({7, -7, 9}), y = NDArray::from_vector<int64_t>({3, 3, -2});
  expect_same_again(graph, {{"a", x}, {"b", y}});
}

// Which takes the other operand's type.
TEST(OnnxExportCases, NumbersOfAnotherFloatTypeAreConverted) {
  const Tensor x(normals({3, 4}).to(DType::float64));
  for (const char* op : {"div", "sub", "greater"})
    for (const bool is_first : {false, true}) {
      nn::Graph graph;
      nn::Node* wide = add_example_input(graph, "x", NDArray::zeros({1, 4}, DType::float64));
      nn::Node* number = graph.add_tensor("number", Tensor(NDArray::full({}, 0.7)));
      graph.set_output(graph.add_op("y", op, {}, is_first ? std::vector{number, wide} : std::vector{wide, number}));
      expect_same_again(graph, {{"x", x}});
      const ModelProto model = model_of(graph);
      EXPECT_EQ(model.graph().node(0).op_type(), "Cast");
    }
}

}  // namespace
}  // namespace thimble::onnx
