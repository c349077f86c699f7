// What ONNX's ops of arithmetic, order, shapes and indices mean: where they differ from NumPy's and PyTorch's, where
// older opsets differ from newer ones, and where sizes, axes and bounds are inputs.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/onnx/model_builder.h"
#include <thimble/nn/graph/graph.h>

namespace thimble::onnx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Type = ::onnx::TensorProto;
using Named = std::pair<std::string, NDArray>;

// Of the executor, which must be that of the graph node by node.
NDArray answer(const ModelBuilder& model, const std::vector<Named>& inputs) {
  nn::Graph graph = model.import();
  nn::NamedTensors tensors;
  std::vector<Tensor> in_order;
  for (const auto& [name, array] : inputs) tensors.emplace_back(name, Tensor(array));
  for (const nn::Node* node : graph.inputs())
    for (const auto& [name, tensor] : tensors)
      if (name == node->name) in_order.push_back(tensor);
  const NDArray result = graph.run(tensors)[0].second.data();
  const NoGrad guard;
  const std::vector<Tensor> all = graph.run_all(in_order);
  const std::vector<nn::Node*> nodes = graph.nodes();
  const auto at = std::ranges::find(nodes, graph.outputs()[0].node) - nodes.begin();
  const NDArray recorded = all[static_cast<size_t>(at)].data();
  EXPECT_EQ(result.dtype(), recorded.dtype());
  EXPECT_EQ(result.shape(), recorded.shape());
  EXPECT_EQ(result.to(DType::float32).contiguous().to_vector<uint32_t>(),
            recorded.to(DType::float32).contiguous().to_vector<uint32_t>());
  return result;
}

std::string refusal_of(const ModelBuilder& model) {
  try {
    model.import();
  } catch (const FormatError& e) {
    return e.what();
  }
  return "";
}

NDArray floats(const std::vector<float>& values) { return NDArray::from_vector(values); }
NDArray integers(const std::vector<int64_t>& values) { return NDArray::from_vector(values); }
std::vector<float> as_floats(const NDArray& x) { return x.to_vector<float>(); }
std::vector<int64_t> as_integers(const NDArray& x) { return x.to_vector<int64_t>(); }

const float kInfinite = std::numeric_limits<float>::infinity(), kNoNumber = std::numeric_limits<float>::quiet_NaN();

TEST(OnnxOps, NumbersTakeTheDtypeOfTheirOperand) {
  ModelBuilder model;
  model.input("x", {-1}, Type::DOUBLE).node("HardSigmoid", {"x"}, {"y"}).output("y");
  const NDArray y = answer(model, {{"x", floats({-1, 0.5f, 9}).to(DType::float64)}});
  EXPECT_EQ(y.dtype(), DType::float64);
  EXPECT_THAT(y.to_vector<double>(),
              ElementsAre(::testing::DoubleNear(0.3, 1e-7), ::testing::DoubleNear(0.6, 1e-7), 1));
}

TEST(OnnxOps, ModAndDivOfIntegersAreExact) {
  for (const auto& [op, fmod, expected] : {std::tuple{"Mod", 0, std::vector<int64_t>{1, (int64_t{1} << 60) + 1}},
                                           std::tuple{"Mod", 1, std::vector<int64_t>{-2, (int64_t{1} << 60) + 1}},
                                           std::tuple{"Div", 0, std::vector<int64_t>{-2, 0}}}) {
    ModelBuilder model;
    model.input("a", {-1}, Type::INT64).input("b", {-1}, Type::INT64);
    const bool is_mod = std::string(op) == "Mod";
    model
        .node(op, {"a", "b"}, {"y"},
              is_mod ? std::vector{ModelBuilder::integer("fmod", fmod)} : std::vector<ModelBuilder::Attribute>{})
        .output("y");
    const NDArray y =
        answer(model, {{"a", integers({-8, (int64_t{1} << 60) + 1})}, {"b", integers({3, int64_t{1} << 61})}});
    EXPECT_EQ(as_integers(y), expected) << op << fmod;
  }
}

TEST(OnnxOps, PowTakesTheBasesDtype) {
  ModelBuilder model;
  model.input("a", {-1}, Type::INT64).input("b", {-1}).node("Pow", {"a", "b"}, {"y"}).output("y");
  const NDArray y = answer(model, {{"a", integers({2, 9})}, {"b", floats({1.5f, 0.5f})}});
  EXPECT_EQ(y.dtype(), DType::int64);
  EXPECT_THAT(as_integers(y), ElementsAre(2, 3));
}

TEST(OnnxOps, ClipLeavesInfinityAloneWhereItHasNoBound) {
  for (const int64_t opset : {7, 13}) {
    ModelBuilder model(opset);
    model.input("x", {-1}).initializer("low", {}, {-1});
    if (opset < 11)
      model.node("Clip", {"x"}, {"y"}, {ModelBuilder::number("min", -1)});
    else
      model.node("Clip", {"x", "low"}, {"y"});
    model.output("y");
    EXPECT_THAT(as_floats(answer(model, {{"x", floats({-kInfinite, 3, kInfinite})}})), ElementsAre(-1, 3, kInfinite));
  }
  ModelBuilder integer_bounds;
  integer_bounds.input("x", {-1}, Type::INT64).input("high", {}, Type::INT64);
  integer_bounds.node("Clip", {"x", "", "high"}, {"y"}).output("y");
  const int64_t big = (int64_t{1} << 53) + 1;
  EXPECT_THAT(
      as_integers(answer(integer_bounds, {{"x", integers({-5, big + 1})}, {"high", integers({big}).reshape({})}})),
      ElementsAre(-5, big));
}

TEST(OnnxOps, SoftmaxBefore13IsOverAllDimensionsFromItsAxis) {
  ModelBuilder old_model(11), new_model(13);
  for (ModelBuilder* model : {&old_model, &new_model})
    model->input("x", {-1, 2, 2}).node("Softmax", {"x"}, {"y"}, {ModelBuilder::integer("axis", 1)}).output("y");
  const NDArray x = NDArray::zeros({1, 2, 2});
  EXPECT_THAT(as_floats(answer(old_model, {{"x", x}})), ElementsAre(0.25f, 0.25f, 0.25f, 0.25f));
  EXPECT_THAT(as_floats(answer(new_model, {{"x", x}})), ElementsAre(0.5f, 0.5f, 0.5f, 0.5f));
}

// Between nodes float16 is float32: 300 * 300 is no float16. What is given out is rounded.
TEST(OnnxOps, Float16IsFloat32UpToTheOutputs) {
  ModelBuilder model;
  model.input("x", {-1}, Type::FLOAT16).node("Mul", {"x", "x"}, {"square"}).node("Sqrt", {"square"}, {"y"});
  model.output("y", Type::FLOAT16);
  const NDArray y = answer(model, {{"x", floats({300, 2049})}});
  EXPECT_EQ(y.dtype(), DType::float32);
  EXPECT_THAT(as_floats(y), ElementsAre(300, 2048));
}

// The second operand's dimensions are the first one's from an axis on; slopes of PRelu are those of channels.
TEST(OnnxOps, Before7BroadcastAlongAnAxis) {
  const NDArray x = NDArray::full({1, 2, 2}, -1);
  ModelBuilder add(6), prelu(6);
  add.input("x", {-1, 2, 2}).initializer("b", {2}, {10, 20});
  add.node("Add", {"x", "b"}, {"y"}, {ModelBuilder::integer("broadcast", 1), ModelBuilder::integer("axis", 1)});
  EXPECT_THAT(as_floats(answer(add.output("y"), {{"x", x}})), ElementsAre(9, 9, 19, 19));
  prelu.input("x", {-1, 2, 2}).initializer("slope", {2}, {3, 4});
  prelu.node("PRelu", {"x", "slope"}, {"y"}, {ModelBuilder::list("consumed_inputs", {0, 0})}).output("y");
  EXPECT_THAT(as_floats(answer(prelu, {{"x", x}})), ElementsAre(-3, -3, -4, -4));
}

TEST(OnnxReductions, TakeAxesAsAttributesOrInputs) {
  const NDArray x = NDArray::arange(6).reshape({2, 3});
  ModelBuilder attribute(11), input(18);
  attribute.input("x", {-1, 3})
      .node("ReduceL2", {"x"}, {"y"}, {ModelBuilder::list("axes", {-1}), ModelBuilder::integer("keepdims", 0)})
      .output("y");
  EXPECT_EQ(answer(attribute, {{"x", x}}).shape(), Shape{2});
  input.input("x", {-1, 3}).input("axes", {1}, Type::INT64).node("ReduceProd", {"x", "axes"}, {"y"}).output("y");
  EXPECT_THAT(as_floats(answer(input, {{"x", x}, {"axes", integers({1})}})), ElementsAre(0, 60));
  EXPECT_THAT(as_floats(answer(input, {{"x", x}, {"axes", integers({-2})}})), ElementsAre(0, 4, 10));
}

TEST(OnnxReductions, OfNothing) {
  const auto of_nothing = [](const char* op) {
    ModelBuilder model;
    model.input("x", {-1, 2}).node(op, {"x"}, {"y"}, {ModelBuilder::list("axes", {0})}).output("y");
    return as_floats(answer(model, {{"x", NDArray::zeros({0, 2})}}));
  };
  EXPECT_THAT(of_nothing("ReduceMax"), ElementsAre(-kInfinite, -kInfinite));
  EXPECT_THAT(of_nothing("ReduceMin"), ElementsAre(kInfinite, kInfinite));
  EXPECT_THAT(of_nothing("ReduceMean"), ElementsAre(::testing::IsNan(), ::testing::IsNan()));
  EXPECT_THAT(of_nothing("ReduceProd"), ElementsAre(1, 1));
}

TEST(OnnxReductions, NaNComesThrough) {
  const NDArray x = floats({1, kNoNumber, 3});
  ModelBuilder largest, place, best;
  largest.input("x", {-1}).node("ReduceMax", {"x"}, {"y"}).output("y");
  EXPECT_THAT(as_floats(answer(largest, {{"x", x}})), ElementsAre(::testing::IsNan()));
  place.input("x", {-1}).node("ArgMin", {"x"}, {"y"}).output("y", Type::INT64);
  EXPECT_THAT(as_integers(answer(place, {{"x", x}})), ElementsAre(1));
  best.input("x", {-1}).input("k", {1}, Type::INT64).node("TopK", {"x", "k"}, {"values", "y"}).output("y", Type::INT64);
  EXPECT_THAT(as_integers(answer(best, {{"x", x}, {"k", integers({2})}})), ElementsAre(1, 2));
}

TEST(OnnxShapes, SlicesAreClippedAsTheStandardSays) {
  ModelBuilder model;
  model.input("x", {-1});
  for (const char* name : {"starts", "ends", "axes", "steps"}) model.input(name, {1}, Type::INT64);
  model.node("Slice", {"x", "starts", "ends", "axes", "steps"}, {"y"}).output("y");
  const auto slice = [&](int64_t start, int64_t end, int64_t step) {
    return as_floats(answer(model, {{"x", NDArray::arange(4)},
                                    {"starts", integers({start})},
                                    {"ends", integers({end})},
                                    {"axes", integers({-1})},
                                    {"steps", integers({step})}}));
  };
  EXPECT_THAT(slice(-100, -200, -1), ElementsAre(0));  // of NumPy's nothing
  EXPECT_THAT(slice(100, std::numeric_limits<int64_t>::min(), -2), ElementsAre(3, 1));
  EXPECT_THAT(slice(1, std::numeric_limits<int64_t>::max(), 2), ElementsAre(1, 3));
  EXPECT_THAT(slice(-100, 1, 1), ElementsAre(0));
  EXPECT_THAT(slice(3, 1, 1), IsEmpty());
}

TEST(OnnxShapes, SplitHasASmallerLastPart) {
  ModelBuilder model(18);
  model.input("x", {-1}).node("Split", {"x"}, {"a", "b", "y"}, {ModelBuilder::integer("num_outputs", 3)}).output("y");
  EXPECT_THAT(as_floats(answer(model, {{"x", NDArray::arange(7)}})), ElementsAre(6));
  ModelBuilder sizes(13);
  sizes.input("x", {-1}).input("split", {2}, Type::INT64).node("Split", {"x", "split"}, {"a", "y"}).output("y");
  EXPECT_THAT(as_floats(answer(sizes, {{"x", NDArray::arange(5)}, {"split", integers({3, 2})}})), ElementsAre(3, 4));
}

TEST(OnnxShapes, PadCropsBeforeItReflects) {
  ModelBuilder model;
  model.input("x", {-1}).input("pads", {2}, Type::INT64);
  model.node("Pad", {"x", "pads"}, {"y"}, {ModelBuilder::text("mode", "reflect")}).output("y");
  EXPECT_THAT(as_floats(answer(model, {{"x", NDArray::arange(4)}, {"pads", integers({-1, 2})}})),
              ElementsAre(1, 2, 3, 2, 1));
  ModelBuilder constant;
  constant.input("x", {-1, 2}).integers("pads", {0, 1, 1, 0}).input("value", {});
  constant.node("Pad", {"x", "pads", "value"}, {"y"}).output("y");
  EXPECT_THAT(as_floats(answer(constant, {{"x", NDArray::ones({1, 2})}, {"value", NDArray::full({}, -kInfinite)}})),
              ElementsAre(-kInfinite, 1, 1, -kInfinite, -kInfinite, -kInfinite));
}

TEST(OnnxShapes, SqueezeWithoutAxesTakesAllOfSizeOne) {
  ModelBuilder model;
  model.input("x", {1, -1, 1}).node("Squeeze", {"x"}, {"z"}).node("Relu", {"z"}, {"y"}).output("y");
  EXPECT_EQ(answer(model, {{"x", NDArray::ones({1, 3, 1})}}).shape(), Shape{3});
  EXPECT_EQ(answer(model, {{"x", NDArray::ones({1, 1, 1})}}).shape(), Shape{});
}

TEST(OnnxShapes, ExpandBroadcastsBothWays) {
  ModelBuilder model;
  model.input("x", {3, 1}).input("shape", {3}, Type::INT64).node("Expand", {"x", "shape"}, {"y"}).output("y");
  EXPECT_EQ(answer(model, {{"x", NDArray::ones({3, 1})}, {"shape", integers({2, 1, 6})}}).shape(), (Shape{2, 3, 6}));
  ModelBuilder shorter;
  shorter.input("x", {3, 1}).integers("shape", {4}).node("Expand", {"x", "shape"}, {"y"}).output("y");
  EXPECT_EQ(answer(shorter, {{"x", NDArray::ones({3, 1})}}).shape(), (Shape{3, 4}));
}

// A mask as transformers make it: of the sizes of another tensor.
TEST(OnnxShapes, MasksFollowFromSizes) {
  ModelBuilder model;
  model.input("x", {-1, -1}).node("Shape", {"x"}, {"sizes"}, {ModelBuilder::integer("start", 1)});
  model.integers("two", {2}).node("Tile", {"sizes", "two"}, {"square"});
  ::onnx::TensorProto one;
  one.set_data_type(Type::FLOAT);
  one.add_dims(1);
  one.add_float_data(1);
  ModelBuilder::Attribute value;
  value.set_name("value");
  value.set_type(ModelBuilder::Attribute::TENSOR);
  *value.mutable_t() = one;
  model.node("Reshape", {"square", "two"}, {"shape"}).node("ConstantOfShape", {"shape"}, {"ones"}, {value});
  model.node("Trilu", {"ones"}, {"mask"}, {ModelBuilder::integer("upper", 0)});
  model.node("MatMul", {"x", "mask"}, {"y"}).output("y");
  EXPECT_THAT(as_floats(answer(model, {{"x", NDArray::ones({1, 3})}})), ElementsAre(3, 2, 1));
  EXPECT_THAT(as_floats(answer(model, {{"x", NDArray::ones({2, 2})}})), ElementsAre(2, 1, 2, 1));
}

TEST(OnnxIndices, CountFromTheEndWhereTheyAreNegative) {
  ModelBuilder gather, one_hot;
  gather.input("x", {-1, 2}).input("i", {-1, 2}, Type::INT64).node("Gather", {"x", "i"}, {"y"}).output("y");
  const NDArray x = NDArray::arange(6).reshape({3, 2});
  const NDArray y = answer(gather, {{"x", x}, {"i", integers({-1, 0}).reshape({1, 2})}});
  EXPECT_EQ(y.shape(), (Shape{1, 2, 2}));
  EXPECT_THAT(as_floats(y), ElementsAre(4, 5, 0, 1));
  one_hot.input("i", {-1}, Type::INT64).tensor("depth", {}, Type::FLOAT, std::vector<float>{3});
  one_hot.tensor("values", {2}, Type::INT32, std::vector<int32_t>{5, 7});
  one_hot.node("OneHot", {"i", "depth", "values"}, {"y"}, {ModelBuilder::integer("axis", 0)}).output("y");
  const NDArray hot = answer(one_hot, {{"i", integers({-1, 0, 9})}});
  EXPECT_EQ(hot.dtype(), DType::int32);
  EXPECT_THAT(as_integers(hot), ElementsAre(5, 7, 5, 5, 5, 5, 7, 5, 5));
}

TEST(OnnxIndices, ShapesMayDependOnValues) {
  ModelBuilder model;
  model.input("x", {-1, -1}).input("keep", {-1}, Type::BOOL);
  model.node("Compress", {"x", "keep"}, {"kept"}, {ModelBuilder::integer("axis", 0)});
  model.node("NonZero", {"kept"}, {"y"}).output("y", Type::INT64);
  const NDArray y = answer(model, {{"x", floats({0, 1, 2, 0, 3, 0}).reshape({3, 2})},
                                   {"keep", NDArray::from_vector<bool>({true, false, true})}});
  EXPECT_EQ(y.shape(), (Shape{2, 2}));
  EXPECT_THAT(as_integers(y), ElementsAre(0, 1, 1, 0));
}

TEST(OnnxProducts, GemmIgnoresWhatBetaLeavesOut) {
  ModelBuilder model;
  model.input("a", {-1, 2}).input("b", {2, 2}).input("c", {2});
  model.node("Gemm", {"a", "b", "c"}, {"y"}, {ModelBuilder::number("beta", 0), ModelBuilder::number("alpha", 2)})
      .output("y");
  const NDArray ones = NDArray::ones({2, 2});
  EXPECT_THAT(as_floats(answer(model, {{"a", ones}, {"b", ones}, {"c", floats({kNoNumber, 1})}})),
              ElementsAre(4, 4, 4, 4));
  ModelBuilder excused;
  excused.input("a", {-1, 1}).input("b", {1, 1});
  excused.node("Gemm", {"a", "b"}, {"y"}, {ModelBuilder::number("alpha", 0)}).output("y");
  EXPECT_THAT(as_floats(answer(excused, {{"a", floats({kNoNumber}).reshape({1, 1})}, {"b", NDArray::ones({1, 1})}})),
              ElementsAre(::testing::IsNan()));
}

TEST(OnnxProducts, ABiasOfOneNumberIsALayersBias) {
  ModelBuilder model;
  model.input("x", {-1, 2}).initializer("w", {2, 3}, {1, 2, 3, 4, 5, 6}).initializer("c", {1, 1}, {10});
  model.node("Gemm", {"x", "w", "c"}, {"y"}).output("y");
  EXPECT_EQ(model.import().num_parameters(), 9);
  EXPECT_THAT(as_floats(answer(model, {{"x", NDArray::ones({1, 2})}})), ElementsAre(15, 17, 19));
}

// A few bytes may ask for any number of elements: none of these is made while the model is read.
TEST(OnnxOps, WhatGrowsBeyondBoundsIsNotComputedWhileReading) {
  ModelBuilder tile;
  tile.input("x", {-1}).initializer("one", {1}, {1}).integers("times", {int64_t{1} << 50});
  tile.node("Tile", {"one", "times"}, {"many"}).node("Add", {"x", "many"}, {"y"}).output("y");
  EXPECT_THAT(refusal_of(tile), HasSubstr("elements of constants, which is too many"));
  ModelBuilder expand;
  expand.input("x", {-1}).initializer("one", {1}, {1}).integers("shape", {int64_t{1} << 50});
  expand.node("Expand", {"one", "shape"}, {"many"}).node("Exp", {"many"}, {"more"}).node("Add", {"x", "more"}, {"y"});
  EXPECT_EQ(refusal_of(expand.output("y")), "");
  ModelBuilder range;
  range.input("x", {-1}).initializer("start", {}, {0}).initializer("limit", {}, {1e18f}).initializer("step", {}, {1});
  range.node("Range", {"start", "limit", "step"}, {"many"}).node("Add", {"x", "many"}, {"y"}).output("y");
  EXPECT_THAT(refusal_of(range), HasSubstr("too many"));
}

// Each node of the chain has nearly twice the dimensions of the one before.
TEST(OnnxOps, DimensionsAndAxesThatNoTensorHasAreRefused) {
  ModelBuilder chain;
  chain.input("y0", {-1, -1, -1}, Type::INT64);
  for (int i = 0; i < 40; ++i) {
    const std::string before = str("y", i);
    chain.node("Gather", {before, before}, {str("y", i + 1)});
  }
  EXPECT_THAT(refusal_of(chain.output("y40", Type::INT64)), HasSubstr("its output 'y2' has 9 dimensions, more than 8"));
  ModelBuilder batch_dims;
  batch_dims.input("x", {-1, 2}).tensor("i", {1, 1}, Type::INT64, std::vector<int64_t>{0});
  batch_dims.node("GatherND", {"x", "i"}, {"y"}, {ModelBuilder::integer("batch_dims", -(int64_t{1} << 40))});
  EXPECT_THAT(refusal_of(batch_dims.output("y")), HasSubstr("its batch_dims is -1099511627776, expected 0 to 8"));
  ModelBuilder last;
  last.input("x", {-1, 2}).tensor("i", {}, Type::INT64, std::vector<int64_t>{std::numeric_limits<int64_t>::max()});
  last.node("Gather", {"x", "i"}, {"y"}).output("y");
  EXPECT_THAT(refusal_of(last), HasSubstr("its index 9223372036854775807 is out of range"));
}

TEST(OnnxOps, ConstantsThatOpsRefuseAreFormatErrors) {
  ModelBuilder model;
  model.input("x", {-1}, Type::INT64).integers("a", {1}).integers("zero", {0});
  model.node("Div", {"a", "zero"}, {"q"}).node("Add", {"x", "q"}, {"y"}).output("y");
  EXPECT_THAT(refusal_of(model), HasSubstr("an integer is divided by 0"));
}

}  // namespace
}  // namespace thimble::onnx
