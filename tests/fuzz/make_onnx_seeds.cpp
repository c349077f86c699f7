// The ONNX models that fuzzing begins with, small ones of each kind: fuzz_onnx_seeds FOLDER writes FOLDER/onnx/NAME.
#include <filesystem>
#include <iostream>

#include "tests/serialization/onnx/model_builder.h"

using ::onnx::TensorProto;
using thimble::onnx::ModelBuilder;

namespace {

std::vector<float> numbers(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 0.25f * static_cast<float>(i % 7) - 0.5f;
  return values;
}

ModelBuilder conv_net() {
  ModelBuilder m;
  m.input("x", {-1, 2, 6, 6}).initializer("w", {4, 2, 3, 3}, numbers(72)).initializer("b", {4}, numbers(4));
  m.node("Conv", {"x", "w", "b"}, {"c"},
         {ModelBuilder::list("pads", {1, 1, 1, 1}), ModelBuilder::list("strides", {2, 2})});
  for (const char* name : {"scale", "bias", "mean"}) m.initializer(name, {4}, numbers(4));
  m.initializer("var", {4}, {1, 2, 3, 4});
  m.node("BatchNormalization", {"c", "scale", "bias", "mean", "var"}, {"n"}).node("Relu", {"n"}, {"r"});
  m.node("MaxPool", {"r"}, {"p"}, {ModelBuilder::list("kernel_shape", {2, 2}), ModelBuilder::integer("ceil_mode", 1)});
  m.node("GlobalAveragePool", {"p"}, {"g"}).node("Flatten", {"g"}, {"f"}).initializer("v", {3, 4}, numbers(12));
  return std::move(m.node("Gemm", {"f", "v"}, {"y"}, {ModelBuilder::integer("transB", 1)}).output("y"));
}

ModelBuilder attention() {
  ModelBuilder m;
  m.input("x", {-1, 4, 6}).initializer("w", {6, 6}, numbers(36)).integers("heads", {0, 0, 2, 3});
  m.node("MatMul", {"x", "w"}, {"a"}).node("Reshape", {"a", "heads"}, {"h"});
  m.node("Transpose", {"h"}, {"q"}, {ModelBuilder::list("perm", {0, 2, 1, 3})});
  m.node("Transpose", {"h"}, {"k"}, {ModelBuilder::list("perm", {0, 2, 3, 1})});
  m.node("MatMul", {"q", "k"}, {"s"}).node("Softmax", {"s"}, {"p"}, {ModelBuilder::integer("axis", -1)});
  return std::move(m.node("MatMul", {"p", "q"}, {"y"}).output("y"));
}

ModelBuilder sizes() {
  ModelBuilder m;
  m.input("x", {-1, 2, 3}).integers("zero", {0}).integers("rest", {-1}).integers("ends", {2}).integers("axes", {1});
  m.node("Shape", {"x"}, {"all"}).node("Gather", {"all", "zero"}, {"n"});
  m.node("Concat", {"n", "rest"}, {"shape"}, {ModelBuilder::integer("axis", 0)}).node("Reshape", {"x", "shape"}, {"r"});
  m.node("Slice", {"r", "zero", "ends", "axes"}, {"s"}).node("Unsqueeze", {"s", "axes"}, {"u"});
  m.integers("more", {1, 5, 1}).node("Expand", {"u", "more"}, {"e"});
  m.integers("pads", {0, 1, 0, 0, 0, 2}).node("Pad", {"e", "pads"}, {"y"});
  return std::move(m.output("y"));
}

ModelBuilder quantized() {
  ModelBuilder m;
  m.input("x", {-1, 4}).initializer("s", {}, {0.05f}).tensor<uint8_t>("z", {}, TensorProto::UINT8, {128});
  m.tensor<int8_t>("w", {4, 3}, TensorProto::INT8, {1, -2, 3, 4, 5, -6, 7, 8, 9, 10, -11, 12});
  m.initializer("ws", {3}, {0.1f, 0.2f, 0.3f}).tensor<int8_t>("wz", {3}, TensorProto::INT8, {0, 0, 0});
  m.node("QuantizeLinear", {"x", "s", "z"}, {"q"}).node("DequantizeLinear", {"q", "s", "z"}, {"d"});
  m.node("DequantizeLinear", {"w", "ws", "wz"}, {"v"}, {ModelBuilder::integer("axis", 1)});
  m.node("MatMul", {"d", "v"}, {"p"}).node("QuantizeLinear", {"p", "s", "z"}, {"r"});
  return std::move(m.node("DequantizeLinear", {"r", "s", "z"}, {"y"}).output("y"));
}

ModelBuilder reductions() {
  ModelBuilder m;
  m.input("x", {-1, 3, 4});
  m.node("ReduceMean", {"x"}, {"mean"}, {ModelBuilder::list("axes", {-1})}).node("Sub", {"x", "mean"}, {"d"});
  m.initializer("two", {}, {2}).node("Pow", {"d", "two"}, {"sq"});
  m.node("ReduceSum", {"sq"}, {"total"}).node("Exp", {"d"}, {"e"}).node("ArgMax", {"e"}, {"best"});
  m.integers("k", {2}).node("TopK", {"x", "k"}, {"values", "indices"});
  return std::move(m.output("total").output("best", TensorProto::INT64).output("values"));
}

ModelBuilder recurrent() {
  ModelBuilder m;
  m.input("x", {3, -1, 2}).initializer("w", {1, 8, 2}, numbers(16)).initializer("r", {1, 8, 2}, numbers(16));
  m.node("LSTM", {"x", "w", "r"}, {"y", "h", "c"}, {ModelBuilder::integer("hidden_size", 2)});
  return std::move(m.output("y").output("c"));
}

ModelBuilder::Attribute branch(const std::string& name, ModelBuilder inner) {
  ModelBuilder::Attribute attribute;
  attribute.set_name(name);
  attribute.set_type(ModelBuilder::Attribute::GRAPH);
  *attribute.mutable_g() = inner.proto().graph();
  return attribute;
}

ModelBuilder branches() {
  ModelBuilder inner_then, inner_else, outer_then, outer_else, m;
  inner_then.node("Add", {"x", "w"}, {"a"}).output("a");
  inner_else.node("NonZero", {"x"}, {"i"})
      .node("Cast", {"i"}, {"f"}, {ModelBuilder::integer("to", TensorProto::FLOAT)});
  outer_then.node("If", {"d"}, {"n"},
                  {branch("then_branch", inner_then), branch("else_branch", inner_else.output("f"))});
  outer_then.node("Neg", {"x"}, {"g"}).output("n").output("g");
  outer_else.node("Relu", {"x"}, {"r"}).output("r").output("x");
  m.input("x", {-1, 3}).input("c", {1}, TensorProto::BOOL).input("d", {1}, TensorProto::BOOL);
  m.initializer("w", {3}, numbers(3));
  m.node("If", {"c"}, {"y", "z"}, {branch("then_branch", outer_then), branch("else_branch", outer_else)});
  return std::move(m.output("y").output("z"));
}

ModelBuilder functions() {
  ModelBuilder m, body;
  body.node("LeakyRelu", {"a"}, {"l"}).node("Add", {"l", "a"}, {"b"});
  ModelBuilder::Attribute& slope = *body.proto().mutable_graph()->mutable_node(0)->add_attribute();
  slope.set_name("alpha");
  slope.set_type(ModelBuilder::Attribute::FLOAT);
  slope.set_ref_attr_name("slope");
  ::onnx::FunctionProto& function = *m.proto().add_functions();
  function.set_domain("f");
  function.set_name("F");
  function.add_input("a");
  function.add_output("b");
  function.add_attribute("slope");
  *function.mutable_node() = body.proto().graph().node();
  m.input("x", {-1, 3}).node("F", {"x"}, {"t"}, {ModelBuilder::number("slope", 0.5f)}, "f");
  return std::move(m.node("F", {"t"}, {"y"}, {}, "f").output("y"));
}

// All of which is known when it is read.
ModelBuilder constants() {
  ModelBuilder m;
  m.input("x", {-1}).integers("n", {3, 2}).integers("pads", {0, 1, 1, 0}).initializer("w", {2, 2}, numbers(4));
  m.node("ConstantOfShape", {"n"}, {"zeros"}).node("Tile", {"w", "n"}, {"t"}).node("Pad", {"w", "pads"}, {"p"});
  m.node("Concat", {"w", "p"}, {"c"}, {ModelBuilder::integer("axis", 0)}).node("MatMul", {"c", "w"}, {"m"});
  m.initializer("start", {}, {0}).initializer("limit", {}, {5}).initializer("step", {}, {2});
  m.node("Range", {"start", "limit", "step"}, {"r"}).node("ReduceSum", {"m"}, {"s"}).node("ReduceSum", {"t"}, {"u"});
  m.node("EyeLike", {"w"}, {"e"}).node("ReduceSum", {"e"}, {"v"});
  return std::move(m.node("Sum", {"x", "s", "u", "v", "r"}, {"y"}).output("y").output("zeros"));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: fuzz_onnx_seeds FOLDER\n";
    return 2;
  }
  const std::filesystem::path folder = std::filesystem::path(argv[1]) / "onnx";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  conv_net().write(folder / "conv_net");
  attention().write(folder / "attention");
  sizes().write(folder / "sizes");
  quantized().write(folder / "quantized");
  reductions().write(folder / "reductions");
  recurrent().write(folder / "recurrent");
  branches().write(folder / "branches");
  functions().write(folder / "functions");
  constants().write(folder / "constants");
  return 0;
} catch (const std::exception& error) {
  std::cerr << "fuzz_onnx_seeds: " << error.what() << '\n';
  return 1;
}
