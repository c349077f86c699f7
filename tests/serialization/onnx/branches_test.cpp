// Graphs inside nodes, and functions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/files.h"
#include "tests/serialization/onnx/model_builder.h"
#include <thimble/core/ops/reduce.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::onnx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Builder = ModelBuilder;

Builder::Attribute graph_attribute(const std::string& name, Builder inner) {
  Builder::Attribute attribute;
  attribute.set_name(name);
  attribute.set_type(Builder::Attribute::GRAPH);
  *attribute.mutable_g() = inner.proto().graph();
  return attribute;
}

Tensor line_of(const std::vector<float>& values) { return Tensor(NDArray::from_vector(values)); }
Tensor flag(bool value) { return Tensor(NDArray::full({}, value, DType::bool_)); }

std::string why_refused(const Builder& model) {
  try {
    model.import();
  } catch (const FormatError& e) {
    return e.what();
  }
  return "";
}

// x + 1 where the condition holds, with a name of its own for an initializer of the outer graph; else 2 * x.
Builder chooser() {
  Builder then_branch, else_branch, model;
  then_branch.initializer("w", {1}, {1}).node("Add", {"x", "w"}, {"t"}).output("t");
  else_branch.node("Mul", {"x", "w"}, {"e"}).output("e");
  model.input("c", {}, ::onnx::TensorProto::BOOL).input("x", {-1}).initializer("w", {1}, {2});
  model.node("If", {"c"}, {"y"},
             {graph_attribute("then_branch", then_branch), graph_attribute("else_branch", else_branch)});
  return model.output("y");
}

TEST(OnnxIf, RunsTheGraphThatItsConditionNames) {
  nn::Graph graph = chooser().import();
  for (int round = 0; round < 2; ++round) {
    EXPECT_THAT(graph.run({{"c", flag(true)}, {"x", line_of({1, 5})}})[0].second.data().to_vector<float>(),
                ElementsAre(2, 6));
    EXPECT_THAT(graph.run({{"c", flag(false)}, {"x", line_of({1, 5})}})[0].second.data().to_vector<float>(),
                ElementsAre(2, 10));
  }
}

TEST(OnnxIf, IsSavedCopiedAndTrained) {
  nn::Graph graph = chooser().import();
  const TempFolder folder;
  save_model(graph, folder.path() / "model.safetensors");
  nn::Graph loaded = load_model(folder.path() / "model.safetensors"), copy = graph.clone();
  for (nn::Graph* g : {&loaded, &copy}) {
    EXPECT_EQ(g->num_parameters(), 2);
    EXPECT_THAT(g->run({{"c", flag(true)}, {"x", line_of({1, 5})}})[0].second.data().to_vector<float>(),
                ElementsAre(2, 6));
    g->train();
    const Tensor y = sum(g->run({{"c", flag(false)}, {"x", line_of({1, 5})}})[0].second);
    y.backward();
    std::vector<float> gradients;
    for (const Tensor& p : g->parameters()) gradients.push_back(p.grad().defined() ? p.grad().data().item<float>() : 0);
    EXPECT_THAT(gradients, ::testing::UnorderedElementsAre(0, 6));
  }
}

TEST(OnnxIf, GraphsMayGiveOtherShapesAndSeveralOutputs) {
  Builder then_branch, else_branch, model;
  then_branch.node("Relu", {"x"}, {"a"}).node("Neg", {"x"}, {"b"}).output("a").output("b");
  else_branch.node("Concat", {"x", "x"}, {"d"}, {Builder::integer("axis", 0)}).output("d").output("x");
  model.input("c", {}, ::onnx::TensorProto::BOOL).input("x", {-1});
  model.node("If", {"c"}, {"y", "z"},
             {graph_attribute("then_branch", then_branch), graph_attribute("else_branch", else_branch)});
  nn::Graph graph = model.output("z").output("y").import();
  const auto run = [&](bool condition) { return graph.run({{"c", flag(condition)}, {"x", line_of({-1, 2})}}); };
  EXPECT_THAT(run(true)[0].second.data().to_vector<float>(), ElementsAre(1, -2));
  EXPECT_THAT(run(true)[1].second.data().to_vector<float>(), ElementsAre(0, 2));
  EXPECT_THAT(run(false)[0].second.data().to_vector<float>(), ElementsAre(-1, 2));
  EXPECT_THAT(run(false)[1].second.data().to_vector<float>(), ElementsAre(-1, 2, -1, 2));
}

TEST(OnnxIf, OfAConstantConditionIsTheGraphThatRuns) {
  Builder then_branch, else_branch, model;
  then_branch.node("Neg", {"x"}, {"t"}).output("t");
  else_branch.node("Abs", {"x"}, {"t"}).output("t");
  model.input("x", {-1}).tensor<uint8_t>("c", {1}, ::onnx::TensorProto::BOOL, {0});
  model.node("If", {"c"}, {"y"},
             {graph_attribute("then_branch", then_branch), graph_attribute("else_branch", else_branch)});
  nn::Graph graph = model.output("y").import();
  EXPECT_THAT(graph(line_of({-3})).data().to_vector<float>(), ElementsAre(3));
  EXPECT_TRUE(graph.children().empty());
}

TEST(OnnxIf, NestedGraphsSeeAllNamesAround) {
  Builder inner_then, inner_else, outer_then, outer_else, model;
  inner_then.node("Add", {"t", "x"}, {"i"}).output("i");
  inner_else.node("Sub", {"t", "x"}, {"i"}).output("i");
  outer_then.node("Mul", {"x", "x"}, {"t"})
      .node("If", {"d"}, {"n"},
            {graph_attribute("then_branch", inner_then), graph_attribute("else_branch", inner_else)})
      .output("n");
  outer_else.node("Identity", {"x"}, {"o"}).output("o");
  model.input("c", {}, ::onnx::TensorProto::BOOL).input("d", {}, ::onnx::TensorProto::BOOL).input("x", {-1});
  model.node("If", {"c"}, {"y"},
             {graph_attribute("then_branch", outer_then), graph_attribute("else_branch", outer_else)});
  nn::Graph graph = model.output("y").import();
  const auto run = [&](bool c, bool d) {
    return graph.run({{"c", flag(c)}, {"d", flag(d)}, {"x", line_of({3})}})[0].second.data().item<float>();
  };
  EXPECT_EQ(run(true, true), 12);
  EXPECT_EQ(run(true, false), 6);
  EXPECT_EQ(run(false, true), 3);
}

TEST(OnnxIf, RefusesWhatIsUnsound) {
  Builder shadowing, plain, model;
  shadowing.node("Neg", {"x"}, {"x2"}).output("x2");
  plain.node("Abs", {"x"}, {"a"}).output("a");
  model.input("c", {}, ::onnx::TensorProto::BOOL).input("x", {-1}).node("Relu", {"x"}, {"x2"});
  model.node("If", {"c"}, {"y"}, {graph_attribute("then_branch", shadowing), graph_attribute("else_branch", plain)});
  EXPECT_THAT(why_refused(model.output("y")), HasSubstr("'x2' has been computed already"));

  Builder unknown = chooser();
  unknown.proto().mutable_graph()->mutable_node(0)->mutable_attribute(0)->mutable_g()->mutable_node(0)->set_op_type(
      "Loop");
  EXPECT_THAT(why_refused(unknown), HasSubstr("not covered: Loop"));
}

::onnx::FunctionProto& add_function(Builder& model, const std::string& name, const std::vector<std::string>& inputs,
                                    const std::vector<std::string>& outputs, const Builder& body) {
  ::onnx::FunctionProto& function = *model.proto().add_functions();
  function.set_domain("org.example");
  function.set_name(name);
  for (const std::string& input : inputs) function.add_input(input);
  for (const std::string& output : outputs) function.add_output(output);
  *function.mutable_node() = Builder(body).proto().graph().node();
  auto* opset = function.add_opset_import();
  opset->set_version(17);
  return function;
}

TEST(OnnxFunctions, AreExpandedWithTheirCallsAttributes) {
  Builder leaky, twice, model;
  leaky.node("LeakyRelu", {"a"}, {"b"});
  Builder::Attribute* slope = leaky.proto().mutable_graph()->mutable_node(0)->add_attribute();
  slope->set_name("alpha");
  slope->set_type(Builder::Attribute::FLOAT);
  slope->set_ref_attr_name("slope");
  twice.node("Leaky", {"a"}, {"m"}, {Builder::number("slope", 0.5f)}, "org.example")
      .node("Leaky", {"m"}, {"b"}, {Builder::number("slope", 0.5f)}, "org.example");
  model.input("a", {-1}).node("Twice", {"a"}, {"m"}, {}, "org.example");
  model.node("Leaky", {"m"}, {"y"}, {Builder::number("slope", 0.25f)}, "org.example").output("y");
  add_function(model, "Leaky", {"a"}, {"b"}, leaky);
  add_function(model, "Twice", {"a"}, {"b"}, twice);
  nn::Graph graph = model.import();
  EXPECT_THAT(graph(line_of({-16, 3})).data().to_vector<float>(), ElementsAre(-1, 3));
}

TEST(OnnxFunctions, ThatCallThemselvesAreRefused) {
  Builder endless, model;
  endless.node("Endless", {"a"}, {"b"}, {}, "org.example");
  model.input("x", {-1}).node("Endless", {"x"}, {"y"}, {}, "org.example").output("y");
  add_function(model, "Endless", {"a"}, {"b"}, endless);
  EXPECT_THAT(why_refused(model), HasSubstr("deep"));
}

}  // namespace
}  // namespace thimble::onnx
