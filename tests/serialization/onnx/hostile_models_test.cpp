// Models that ask for far more than they hold, or for what does not fit: each ends in one error or in a small graph.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/onnx/model_builder.h"
#include <thimble/nn/graph/graph.h>

namespace thimble::onnx {
namespace {

using ::testing::HasSubstr;
using Builder = ModelBuilder;
using Type = ::onnx::TensorProto;

// Small models reach the limits of small ones.
constexpr double kSmallSlack = 1 << 16;

nn::Graph imported(Builder& model) { return Importer(model.proto(), ".", {}, kSmallSlack).run(); }

std::string complaint_about(Builder& model, double slack = kSmallSlack) {
  try {
    Importer(model.proto(), ".", {}, slack).run();
  } catch (const FormatError& e) {
    return e.what();
  }
  return "";
}

int64_t bytes_in(const nn::Graph& graph) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : graph.state()) bytes += tensor.data().nbytes();
  return bytes;
}

Builder::Attribute subgraph(const std::string& name, Builder inner) {
  Builder::Attribute attribute;
  attribute.set_name(name);
  attribute.set_type(Builder::Attribute::GRAPH);
  *attribute.mutable_g() = inner.proto().graph();
  return attribute;
}

std::string numbered(const char* name, int i) { return name + std::to_string(i); }

::onnx::FunctionProto& function_in(Builder& model, const std::string& name) {
  ::onnx::FunctionProto& function = *model.proto().add_functions();
  function.set_domain("f");
  function.set_name(name);
  function.add_input("a");
  function.add_output("b");
  function.add_opset_import()->set_version(17);
  return function;
}

::onnx::NodeProto& node_in(::onnx::FunctionProto& function, const std::string& op, const std::string& input,
                           const std::string& output, const std::string& domain = "") {
  ::onnx::NodeProto& node = *function.add_node();
  node.set_op_type(op);
  node.set_domain(domain);
  if (!input.empty()) node.add_input(input);
  node.add_output(output);
  return node;
}

TEST(OnnxHostileModels, ConstantsThatDoubleStopGrowing) {
  Builder model;
  model.input("x", {-1}).initializer("a0", {1000}, std::vector<float>(1000, 1));
  for (int i = 0; i < 12; ++i)
    model.node("Concat", {numbered("a", i), numbered("a", i)}, {numbered("a", i + 1)}, {Builder::integer("axis", 0)});
  nn::Graph graph = imported(model.node("ReduceMax", {"a12"}, {"m"}).node("Add", {"x", "m"}, {"y"}).output("y"));
  EXPECT_LE(bytes_in(graph), 32 * 4000);  // of 16 million
  EXPECT_EQ(graph(Tensor(NDArray::ones({1}))).data().to_vector<float>(), std::vector<float>{2});
}

TEST(OnnxHostileModels, AConcatenationOfOneArrayManyTimesIsNotComputed) {
  Builder model;
  model.input("x", {-1}).initializer("a", {10000}, std::vector<float>(10000, 1));
  model.node("Concat", std::vector<std::string>(50, "a"), {"c"}, {Builder::integer("axis", 0)});
  nn::Graph graph = imported(model.node("Add", {"x", "c"}, {"y"}).output("y"));
  EXPECT_LE(bytes_in(graph), 40000);
  EXPECT_EQ(graph(Tensor(NDArray::ones({1}))).shape(), Shape({500000}));
}

// Each for itself is few elements.
TEST(OnnxHostileModels, ManyConstantsOfSizesTakeFromOneBudget) {
  const auto grown = [](const std::string& op, std::vector<std::string> inputs,
                        const std::vector<Builder::Attribute>& attributes = {}) {
    Builder model;
    model.input("x", {-1}).initializer("one", {1, 1}, {1}).integers("sizes", {64, 64}).integers("depth", {64});
    model.initializer("start", {}, {0}).initializer("limit", {}, {4096}).initializer("step", {}, {1});
    model.initializer("square", {64, 64}, std::vector<float>(4096, 1)).integers("pads", {0, 0, 63, 63});
    model.integers("classes", std::vector<int64_t>(64, 3))
        .initializer("values", {2}, {0, 1})
        .initializer("scales", {4}, {1, 1, 64, 64});
    model.initializer("image", {1, 1, 1, 1}, {1});
    std::vector<std::string> sums;
    for (int i = 0; i < 30; ++i) {
      sums.push_back(numbered("s", i));
      model.node(op, inputs, {numbered("c", i)}, attributes).node("Add", {"x", numbered("c", i)}, {sums.back()});
    }
    model.node("Sum", sums, {"y"}).output("y");
    return bytes_in(imported(model));
  };
  const int64_t most = 400000;  // of 30 times 16384 bytes, or more
  EXPECT_LE(grown("Expand", {"one", "sizes"}), most);
  EXPECT_LE(grown("Tile", {"one", "sizes"}), most);
  EXPECT_LE(grown("ConstantOfShape", {"sizes"}), most);
  EXPECT_LE(grown("EyeLike", {"square"}), most);
  EXPECT_LE(grown("Range", {"start", "limit", "step"}), most);
  EXPECT_LE(grown("Pad", {"one", "pads"}), most);
  EXPECT_LE(grown("Resize", {"image", "", "scales"}), most);
  EXPECT_LE(grown("OneHot", {"classes", "depth", "values"}), most);
}

TEST(OnnxHostileModels, WhatIsMadeOnTheWayToNothingIsSomething) {
  for (const int64_t last : {0, -1}) {
    Builder model;
    model.input("x", {-1}).initializer("one", {1, 1}, {1}).integers("times", {int64_t{1} << 40, last});
    model.node("Tile", {"one", "times"}, {"t"}).node("ReduceSum", {"t"}, {"s"}).node("Add", {"x", "s"}, {"y"});
    EXPECT_THAT(complaint_about(model.output("y")), HasSubstr("elements of constants, which is too many"));
  }
}

TEST(OnnxHostileModels, PaddingOfNothingIsSomething) {
  Builder model;
  model.input("x", {-1}).initializer("none", {0, 1}, {}).integers("pads", {1 << 15, 1 << 13, 0, 0});
  model.node("Pad", {"none", "pads"}, {"p"}).node("Add", {"x", "p"}, {"y"}).output("y");
  EXPECT_THAT(complaint_about(model), HasSubstr("elements of constants, which is too many"));
}

TEST(OnnxHostileModels, OutputsOfBranchesWithinBranchesAreCopiedWithinABudget) {
  constexpr int kOutputs = 4, kDeep = 4;
  std::vector<std::string> names;
  for (int i = 0; i < kOutputs; ++i) names.push_back(numbered("o", i));
  Builder inner;  // each output needs all of those inside
  for (const std::string& name : names) inner.node("Relu", {"x"}, {name + "_"}).output(name + "_");
  for (int level = 0; level < kDeep; ++level) {
    Builder other, outer;
    std::vector<std::string> inside, outside;
    for (const std::string& name : names) {
      inside.push_back(name + std::to_string(level) + "i");
      outside.push_back(name + std::to_string(level) + "o");
      other.node("Identity", {"x"}, {inside.back() + "e"}).output(inside.back() + "e");
    }
    outer.node("If", {"c"}, inside, {subgraph("then_branch", inner), subgraph("else_branch", other)});
    for (const std::string& name : outside) outer.node("Sum", inside, {name}).output(name);
    inner = outer;
  }
  Builder model;
  model.input("x", {-1}).input("c", {}, Type::BOOL);
  for (const ::onnx::NodeProto& node : inner.proto().graph().node()) *model.proto().mutable_graph()->add_node() = node;
  model.output("o0" + std::to_string(kDeep - 1) + "o");
  EXPECT_THAT(complaint_about(model), HasSubstr("bytes of nodes, constants and copies"));
  EXPECT_EQ(complaint_about(model, 1 << 30), "");
}

TEST(OnnxHostileModels, LayersThatShareAWeightAreCounted) {
  Builder model;
  model.input("x", {-1, 64}).initializer("w", {64, 64}, std::vector<float>(4096, 1));
  for (int i = 0; i < 100; ++i)
    model.node("MatMul", {i == 0 ? std::string("x") : numbered("y", i - 1), "w"}, {numbered("y", i)});
  EXPECT_THAT(complaint_about(model.output("y99")), HasSubstr("bytes of nodes, constants and copies"));
}

TEST(OnnxHostileModels, FunctionsMayNotLieTooDeepWithinOneAnother) {
  Builder model;
  model.input("x", {-1}).node("F0", {"x"}, {"y"}, {}, "f").output("y");
  constexpr int kFunctions = 1000;
  for (int i = 0; i < kFunctions; ++i)
    node_in(function_in(model, numbered("F", i)), i + 1 < kFunctions ? numbered("F", i + 1) : "Nothing", "a", "b", "f");
  EXPECT_THAT(complaint_about(model), HasSubstr("more than 32 deep"));  // and not that Nothing is not covered
}

TEST(OnnxHostileModels, ConstantsOfFunctionsCountForEachCall) {
  Builder model;
  model.input("x", {-1});
  ::onnx::FunctionProto& function = function_in(model, "PlusOne");
  ::onnx::NodeProto& ones = node_in(function, "Constant", "", "k");
  ::onnx::AttributeProto& value = *ones.add_attribute();
  value.set_name("value");
  value.set_type(::onnx::AttributeProto::TENSOR);
  value.mutable_t()->set_data_type(Type::FLOAT);
  value.mutable_t()->add_dims(4096);
  value.mutable_t()->set_raw_data(std::string(16384, '\0'));
  node_in(function, "Add", "a", "b").add_input("k");
  std::vector<std::string> all;
  for (int i = 0; i < 200; ++i) {
    all.push_back(numbered("y", i));
    model.node("PlusOne", {"x"}, {all.back()}, {}, "f");
  }
  EXPECT_THAT(complaint_about(model.node("Sum", all, {"y"}).output("y")),
              HasSubstr("bytes of nodes, constants and copies"));
}

// The size is declared, and no memory is taken for it.
TEST(OnnxHostileModels, DeclaredSizesAreNotCounted) {
  for (const int64_t size : {int64_t{1} << 40, std::numeric_limits<int64_t>::max()}) {
    Builder model;
    model.input("x", {size}).integers("start", {1}).integers("end", {-1}).integers("two", {2});
    model.node("Slice", {"x", "start", "end", "", "two"}, {"s"}).node("Relu", {"s"}, {"y"}).output("y");
    nn::Graph graph = imported(model);
    EXPECT_EQ(graph(Tensor(NDArray::ones({6}))).shape(), Shape({2}));
    Builder joined;
    joined.input("x", {size}).node("Concat", {"x", "x"}, {"y"}, {Builder::integer("axis", 0)}).output("y");
    EXPECT_EQ(complaint_about(joined).empty(), size == int64_t{1} << 40);
  }
}

TEST(OnnxHostileModels, NumbersOfConvolutionsMustFitTheirWeights) {
  const auto complaint = [](const std::string& op, const std::vector<Builder::Attribute>& attributes) {
    Builder model;
    model.input("x", {1, 1, 8, 8}).initializer("w", {1, 1, 3, 3}, std::vector<float>(9, 1));
    return complaint_about(model.node(op, {"x", "w"}, {"y"}, attributes).output("y"));
  };
  EXPECT_EQ(complaint("Conv", {Builder::list("kernel_shape", {3, 3})}), "");
  EXPECT_THAT(complaint("Conv", {Builder::list("kernel_shape", {1 << 29, 1 << 29})}), HasSubstr("that of its weight"));
  EXPECT_THAT(complaint("ConvTranspose", {Builder::list("kernel_shape", {5, 5})}), HasSubstr("that of its weight"));
  const int64_t most = std::numeric_limits<int64_t>::max();
  for (const int64_t group : {int64_t{0}, int64_t{-1}, most}) {
    EXPECT_NE(complaint("Conv", {Builder::integer("group", group)}), "");
    EXPECT_NE(complaint("ConvTranspose", {Builder::integer("group", group)}), "");
  }
  EXPECT_THAT(complaint("Conv", {Builder::list("pads", {most, most, most, most})}), HasSubstr("'pads'"));
  EXPECT_THAT(complaint("ConvTranspose", {Builder::list("output_padding", {most, most})}),
              HasSubstr("'output_padding'"));
}

TEST(OnnxHostileModels, AxesThatAreNamedTwiceAreRefused) {
  const auto complaint = [](const std::string& op, const std::vector<int64_t>& axes) {
    Builder model(13);
    model.input("x", {1, 1, 2}).integers("axes", axes);
    const bool is_reduction = op == "ReduceMax";
    if (op == "Transpose")
      model.node(op, {"x"}, {"y"}, {Builder::list("perm", axes)});
    else if (is_reduction)
      model.node(op, {"x"}, {"y"}, {Builder::list("axes", axes)});
    else
      model.node(op, {"x", "axes"}, {"y"});
    return complaint_about(model.output("y"));
  };
  for (const char* op : {"Squeeze", "Unsqueeze", "ReduceSum", "ReduceMax"}) {
    EXPECT_EQ(complaint(op, {0, 1}), "") << op;
    EXPECT_THAT(complaint(op, {0, 0}), HasSubstr("its axis 0 is named twice")) << op;
    EXPECT_THAT(complaint(op, {0, op == std::string("Unsqueeze") ? -5 : -3}), HasSubstr("its axis 0 is named twice"))
        << op;
  }
  EXPECT_EQ(complaint("Transpose", {2, 0, 1}), "");
  EXPECT_THAT(complaint("Transpose", {1, 1, 0}), HasSubstr("its axis 1 is named twice"));
  EXPECT_THAT(complaint("Transpose", {1, 0}), HasSubstr("'perm' has 2 entries"));
}

TEST(OnnxHostileModels, NumbersAtTheEndOfInt64AreRefused) {
  const int64_t most = std::numeric_limits<int64_t>::max();
  Builder gather;
  gather.input("x", {-1}).tensor<int64_t>("i", {}, Type::INT64, {most}).node("Gather", {"x", "i"}, {"y"}).output("y");
  EXPECT_THAT(complaint_about(gather), HasSubstr("out of range"));
  Builder gather_nd;
  gather_nd.input("x", {-1, 2}).integers("i", {0});
  gather_nd.node("GatherND", {"x", "i"}, {"y"}, {Builder::integer("batch_dims", most)}).output("y");
  EXPECT_THAT(complaint_about(gather_nd), HasSubstr("batch_dims"));
}

TEST(OnnxHostileModels, AnAttributeOfManyNumbersIsRefused) {
  Builder model;
  model.input("x", {-1}).integers("times", std::vector<int64_t>(1000, 1)).node("Tile", {"x", "times"}, {"y"});
  EXPECT_THAT(complaint_about(model.output("y")), HasSubstr("1000 numbers"));
}

TEST(OnnxHostileModels, OpsHaveTheirNumberOfInputs) {
  for (const auto& [op, inputs] :
       {std::pair{"Add", 1}, std::pair{"Add", 3}, std::pair{"Abs", 2}, std::pair{"Where", 2}}) {
    Builder model;
    model.input("x", {-1}).node(op, std::vector<std::string>(static_cast<size_t>(inputs), "x"), {"y"}).output("y");
    EXPECT_THAT(complaint_about(model), HasSubstr(std::to_string(inputs) + " inputs, expected")) << op;
  }
}

TEST(OnnxHostileModels, InputsOfOneNameAreRefused) {
  Builder model;
  model.input("x", {-1}).input("x", {-1}).node("Relu", {"x"}, {"y"}).output("y");
  EXPECT_THAT(complaint_about(model), HasSubstr("two inputs named 'x'"));
}

// A window as large as the image for each of its pixels.
TEST(OnnxHostileModels, PoolsOfConstantsAreNotComputedWhileReading) {
  Builder model;
  model.input("x", {-1}).initializer("a", {1, 1, 64, 64}, std::vector<float>(4096, 1));
  model.node("MaxPool", {"a"}, {"p"}, {Builder::list("kernel_shape", {32, 32})});
  nn::Graph graph = imported(model.node("ReduceMax", {"p"}, {"m"}).node("Add", {"x", "m"}, {"y"}).output("y"));
  EXPECT_NE(graph.find("p"), nullptr);
  EXPECT_EQ(graph(Tensor(NDArray::ones({1}))).data().to_vector<float>(), (std::vector<float>{2}));
}

// A value of the graph around the branch, as a scale, is found there.
TEST(OnnxHostileModels, ScalesMayBeThoseOfTheGraphAround) {
  Builder then_branch, else_branch, model;
  then_branch.node("QuantizeLinear", {"x", "s", "z"}, {"q"}).node("DequantizeLinear", {"q", "s", "z"}, {"t"});
  else_branch.node("Neg", {"x"}, {"e"}).output("e");
  model.input("x", {-1}).input("c", {}, Type::BOOL).initializer("s", {}, {0.5f});
  model.tensor<uint8_t>("z", {}, Type::UINT8, {128});
  model.node("If", {"c"}, {"y"},
             {subgraph("then_branch", then_branch.output("t")), subgraph("else_branch", else_branch)});
  nn::Graph graph = imported(model.output("y"));
  EXPECT_EQ(graph.num_parameters(), 0);
  const Tensor x(NDArray::full({1}, 0.7)), c(NDArray::full({}, 1, DType::bool_));
  EXPECT_EQ(graph.run({{"x", x}, {"c", c}})[0].second.data().item<float>(), 0.5f);
}

}  // namespace
}  // namespace thimble::onnx
