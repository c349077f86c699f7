// What is recognized in primitives, and what only looks like it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/onnx/model_builder.h"
#include <thimble/core/random.h>

namespace thimble::onnx {
namespace {

NDArray values_of(const Shape& shape, uint64_t seed = 1) {
  Generator generator(seed);
  return randn(shape, generator);
}

bool has_op(const nn::Graph& graph, const std::string& op) {
  for (const nn::Node* node : graph.nodes())
    if (graph.is_op(node, op) || graph.is_layer(node, op)) return true;
  return false;
}

// x * clip(x + three, 0, 6) * sixth
ModelBuilder hardswish_with(float three, float sixth, const Shape& number = {}) {
  ModelBuilder model(13);
  model.input("x", {-1, 4}).output("y").initializer("three", number, {three}).initializer("sixth", number, {sixth});
  model.initializer("zero", {}, {0}).initializer("six", {}, {6});
  model.node("Add", {"x", "three"}, {"a"}).node("Clip", {"a", "zero", "six"}, {"b"});
  model.node("Mul", {"x", "b"}, {"c"}).node("Mul", {"c", "sixth"}, {"y"});
  return model;
}

TEST(OnnxPatternCases, NumbersAreThoseOfTheFunctionToTheLastDigits) {
  EXPECT_TRUE(has_op(hardswish_with(3, 1.0f / 6).import(), "hardswish"));
  EXPECT_TRUE(has_op(hardswish_with(3, 0.16666666f).import(), "hardswish"));
  EXPECT_FALSE(has_op(hardswish_with(3.00002f, 1.0f / 6).import(), "hardswish"));
  EXPECT_FALSE(has_op(hardswish_with(3, 0.166666f).import(), "hardswish"));
}

// Numbers of more dimensions than x make the result have as many.
TEST(OnnxPatternCases, ResultsHaveAsManyDimensionsAsTheirNumbers) {
  const Tensor x(values_of({2, 4}));
  for (const Shape& number : {Shape{}, Shape{1}, Shape{1, 1}, Shape{1, 1, 1}}) {
    const Tensor y = hardswish_with(3, 1.0f / 6, number).import()(x);
    EXPECT_EQ(y.shape(), number.ndim() == 3 ? (Shape{1, 2, 4}) : (Shape{2, 4})) << number;
    ModelBuilder gelu(13);
    gelu.input("x", {-1, 4}).output("y").initializer("root", number, {std::sqrt(2.0f)});
    gelu.initializer("one", {}, {1}).initializer("half", {}, {0.5f}).node("Div", {"x", "root"}, {"a"});
    gelu.node("Erf", {"a"}, {"b"}).node("Add", {"b", "one"}, {"c"}).node("Mul", {"x", "c"}, {"d"});
    gelu.node("Mul", {"d", "half"}, {"y"});
    EXPECT_EQ(gelu.import()(x).shape(), y.shape()) << number;
    EXPECT_EQ(has_op(gelu.import(), "gelu"), number.ndim() < 3);
  }
}

// (x - mean) / sqrt(mean of squares + eps) * weight + bias
ModelBuilder layer_norm_with(const Shape& parameters, bool computes_axes = false) {
  ModelBuilder model(18);
  model.input("x", {-1, 3, 4}).output("y").initializer("eps", {}, {1e-5f});
  if (computes_axes)
    model.input("axes", {1}, ::onnx::TensorProto::INT64);
  else
    model.integers("axes", {-1});
  const auto count = static_cast<size_t>(parameters.numel());
  model.initializer("w", parameters, std::vector<float>(count, 2))
      .initializer("b", parameters, std::vector<float>(count, 3));
  model.node("ReduceMean", {"x", "axes"}, {"mean"}).node("Sub", {"x", "mean"}, {"c"}).node("Mul", {"c", "c"}, {"s"});
  model.node("ReduceMean", {"s", "axes"}, {"var"}).node("Add", {"var", "eps"}, {"v"}).node("Sqrt", {"v"}, {"d"});
  model.node("Div", {"c", "d"}, {"n"}).node("Mul", {"n", "w"}, {"nw"}).node("Add", {"nw", "b"}, {"y"});
  return model;
}

TEST(OnnxPatternCases, LayerNormsHaveAWeightForEachElement) {
  const Tensor x(values_of({2, 3, 4}));
  nn::Graph whole = layer_norm_with({4}).import(), one = layer_norm_with({1}).import();
  EXPECT_TRUE(has_op(whole, "LayerNorm"));
  const auto expected = whole(x).data().to_vector<float>(), got = one(x).data().to_vector<float>();
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5);
}

TEST(OnnxPatternCases, AxesThatAreComputedAreNoLayerNorm) {
  const Tensor x(values_of({2, 3, 4})), axes = NDArray::from_vector<int64_t>({-1});
  nn::Graph graph = layer_norm_with({4}, true).import();
  const auto got = graph.run({{"x", x}, {"axes", axes}})[0].second.data().to_vector<float>();
  const auto expected = layer_norm_with({4}).import()(x).data().to_vector<float>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5);
}

// What others read, too, stays what it was.
TEST(OnnxPatternCases, PartsThatAreReadElsewhereStay) {
  ModelBuilder model = hardswish_with(3, 1.0f / 6);
  model.output("b").output("c");
  const Tensor x = NDArray::from_vector<float>({-4, -1, 1, 5}, {1, 4});
  const nn::NamedTensors got = model.import().run({{"x", x}});
  EXPECT_THAT(got[1].second.data().to_vector<float>(), ::testing::ElementsAre(0, 2, 4, 6));
  EXPECT_THAT(got[2].second.data().to_vector<float>(), ::testing::ElementsAre(0, -2, 4, 30));
}

}  // namespace
}  // namespace thimble::onnx
