#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/files.h"
#include "tests/serialization/onnx/model_builder.h"
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/serialization/onnx/model_file.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(const ModelBuilder& model) {
  try {
    model.import();
  } catch (const FormatError& e) {
    return e.what();
  }
  return "";
}

Tensor tensor(const Shape& shape, const std::vector<float>& values) {
  return Tensor(NDArray::from_vector(values).reshape(shape));
}

TEST(OnnxImport, FullyConnectedLayersBecomeLinearLayers) {
  ModelBuilder model;
  model.input("x", {-1, 2}).initializer("w", {2, 3}, {1, 2, 3, 4, 5, 6}).initializer("b", {3}, {10, 20, 30});
  model.node("Gemm", {"x", "w", "b"}, {"y"}).output("y");
  nn::Graph graph = model.import();
  EXPECT_EQ(graph.num_parameters(), 9);
  EXPECT_THAT(graph(tensor({1, 2}, {1, 1})).data().to_vector<float>(), ElementsAre(15, 27, 39));
}

TEST(OnnxImport, InputsAndOutputsKeepTheirNames) {
  ModelBuilder model;
  model.input("a", {-1}).input("b", {-1});
  model.node("Add", {"a", "b"}, {"total"}).node("Sub", {"a", "b"}, {"rest"}).output("rest").output("total");
  nn::Graph graph = model.import();
  const nn::NamedTensors answers = graph.run({{"b", tensor({2}, {1, 2})}, {"a", tensor({2}, {5, 5})}});
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].first, "rest");
  EXPECT_THAT(answers[0].second.data().to_vector<float>(), ElementsAre(4, 3));
  EXPECT_THAT(answers[1].second.data().to_vector<float>(), ElementsAre(6, 7));
}

// As torch.flatten() and view(x.size(0), -1) are exported.
TEST(OnnxImport, ShapesThatFollowFromSizesAreKnownToPrograms) {
  ModelBuilder model;
  model.input("x", {-1, -1, -1}).integers("zero", {0}).integers("rest", {-1});
  model.node("Shape", {"x"}, {"sizes64"}).node("Cast", {"sizes64"}, {"sizes"}, {ModelBuilder::integer("to", 7)});
  model.node("Gather", {"sizes", "zero"}, {"batch"});
  model.node("Concat", {"batch", "rest"}, {"shape"}, {ModelBuilder::integer("axis", 0)});
  model.node("Reshape", {"x", "shape"}, {"y"}).output("y");
  nn::Graph graph = model.import();
  EXPECT_EQ(graph(Tensor(NDArray::zeros({2, 3, 4}))).shape(), Shape({2, 12}));
  EXPECT_EQ(graph(Tensor(NDArray::zeros({5, 2, 2}))).shape(), Shape({5, 4}));
}

TEST(OnnxImport, IntegersPassThroughReshapesWhoseShapesFollowFromSizes) {
  ModelBuilder model;
  model.input("x", {-1, 4}).integers("zero", {0}).integers("rest", {2, -1});
  model.initializer("w", {4, 4}, std::vector<float>(16, 0.5f)).initializer("v", {2, 3}, {1, 2, 3, 4, 5, 6});
  model.node("MatMul", {"x", "w"}, {"a"}).node("Shape", {"x"}, {"sizes"}).node("Gather", {"sizes", "zero"}, {"n"});
  model.node("Concat", {"n", "rest"}, {"shape"}, {ModelBuilder::integer("axis", 0)});
  model.node("Reshape", {"a", "shape"}, {"b"}).node("MatMul", {"b", "v"}, {"y"}).output("y");
  nn::Graph graph = model.import();
  nn::Graph prepared = quant::prepare(graph, quant::QConfigMapping::static_int8());
  const Tensor x = tensor({2, 4}, {1, 2, 3, 4, 4, 3, 2, 1});
  prepared(x);
  nn::Graph int8 = quant::convert(prepared);
  const nn::Node* first = int8.find("a");
  ASSERT_TRUE(first && int8.is_layer(first, "QuantizedLinear"));
  EXPECT_EQ(int8.layer(first).attributes().get<double>("output_scale") > 0, true);  // integers go on
  const std::vector<float> expected = graph(x).data().to_vector<float>(), got = int8(x).data().to_vector<float>();
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 0.02 * 45);
}

TEST(OnnxImport, ShapesMayBeInputs) {
  ModelBuilder model;
  model.input("x", {-1, -1}).input("shape", {1}, ::onnx::TensorProto::INT64);
  model.node("Reshape", {"x", "shape"}, {"y"}).output("y");
  nn::Graph graph = model.import();
  const Tensor x(NDArray::zeros({2, 3}));
  EXPECT_EQ(graph.run({{"x", x}, {"shape", Tensor(NDArray::from_vector(std::vector<int64_t>{6}))}})[0].second.shape(),
            Shape({6}));
  EXPECT_EQ(graph.run({{"x", x}, {"shape", Tensor(NDArray::from_vector(std::vector<int64_t>{-1}))}})[0].second.shape(),
            Shape({6}));
}

TEST(OnnxImport, OpsThatAreNotCoveredAreListedWithTheirNodes) {
  ModelBuilder model;
  model.input("x", {-1})
      .node("StringNormalizer", {"x"}, {"a"})
      .node("Foo", {"a"}, {"y"}, {}, "org.example")
      .output("y");
  EXPECT_THAT(refusal(model), AllOf(HasSubstr("StringNormalizer ('a')"), HasSubstr("org.example.Foo ('y')")));
}

TEST(OnnxImport, UnknownAttributesAreRefused) {
  ModelBuilder model;
  model.input("x", {-1}).node("Relu", {"x"}, {"y"}, {ModelBuilder::integer("sharpness", 3)}).output("y");
  EXPECT_THAT(refusal(model), HasSubstr("its attribute 'sharpness' is not covered"));
}

TEST(OnnxImport, UnsoundModelsAreRefused) {
  ModelBuilder cyclic;
  cyclic.input("x", {-1}).node("Add", {"x", "b"}, {"a"}).node("Relu", {"a"}, {"b"}).output("b");
  EXPECT_THAT(refusal(cyclic), HasSubstr("its input 'b' is neither"));

  ModelBuilder twice;
  twice.input("x", {-1}).node("Relu", {"x"}, {"y"}).node("Abs", {"x"}, {"y"}).output("y");
  EXPECT_THAT(refusal(twice), HasSubstr("its output 'y' has been computed already"));

  ModelBuilder no_output;
  no_output.input("x", {-1}).node("Relu", {"x"}, {"y"}).output("z");
  EXPECT_THAT(refusal(no_output), HasSubstr("no node computes the output 'z'"));

  ModelBuilder short_data;
  short_data.input("x", {-1}).initializer("w", {3}, {1, 2}).node("Add", {"x", "w"}, {"y"}).output("y");
  EXPECT_THAT(refusal(short_data), HasSubstr("has 8 bytes, expected 12"));
}

TEST(OnnxImport, UnknownOpsetsAreRefused) {
  for (const int64_t opset : {0, 26}) {
    ModelBuilder model(opset);
    model.input("x", {-1}).node("Relu", {"x"}, {"y"}).output("y");
    EXPECT_THAT(refusal(model), HasSubstr("expected 1 to 25")) << opset;
  }
}

TEST(OnnxImport, FilesThatAreNoModelsAreRefused) {
  const TempFolder folder;
  const std::filesystem::path path = folder.path() / "model.onnx";
  std::ofstream(path) << "not a model";
  EXPECT_THROW(import_model(path), FormatError);
  EXPECT_THROW(import_model(folder.path() / "missing.onnx"), IOError);
}

// A product whose weight is large.
class LargeOnnxTensors : public ::testing::Test {
 protected:
  static constexpr int64_t kIn = 300, kOut = 80;

  LargeOnnxTensors() : weight_(NDArray::arange(kIn * kOut).to_vector<float>()) {
    ModelBuilder model;
    model.input("x", {-1, kIn}).initializer("w", {kIn, kOut}, weight_).initializer("b", {1}, {3});
    model.node("MatMul", {"x", "w"}, {"p"}).node("Add", {"p", "b"}, {"y"}).output("y");
    model.write(path_);
  }

  // A row of the weight, and the bias.
  void expect_right(nn::Graph& graph) const {
    NDArray x = NDArray::zeros({1, kIn});
    x.data<float>()[2] = 1;
    std::vector<float> expected(weight_.begin() + 2 * kOut, weight_.begin() + 3 * kOut);
    for (float& y : expected) y += 3;
    EXPECT_EQ(graph(x).data().to_vector<float>(), expected);
  }

  TempFolder folder_;
  std::filesystem::path path_ = folder_ / "model.onnx";
  std::vector<float> weight_;
};

TEST_F(LargeOnnxTensors, AreReadFromTheModelsFile) {
  nn::Graph graph = import_model(path_);
  expect_right(graph);
  ImportOptions read_now;
  read_now.mapped = false;
  nn::Graph copied = import_model(path_, read_now);
  write_bytes(path_, std::string(read_bytes(path_).size(), 'x'));  // in place
  expect_right(copied);
}

TEST_F(LargeOnnxTensors, AreOutsideOfTheMessage) {
  const ModelFile file = read_model(path_);
  const ::onnx::TensorProto &w = file.proto.graph().initializer(0), &b = file.proto.graph().initializer(1);
  EXPECT_EQ(w.data_location(), ::onnx::TensorProto::EXTERNAL);
  EXPECT_FALSE(w.has_raw_data());
  EXPECT_TRUE(array_of(w, file.data).is_unread());
  EXPECT_EQ(array_of(w, file.data).to_vector<float>(), weight_);
  EXPECT_NE(b.data_location(), ::onnx::TensorProto::EXTERNAL);
}

// Some writers say so: they are where they are unless told.
TEST_F(LargeOnnxTensors, AreOutsideOfTheMessageThatSaysTheyAreInside) {
  ::onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(read_bytes(path_)));
  model.mutable_graph()->mutable_initializer(0)->set_data_location(::onnx::TensorProto::DEFAULT);
  write_bytes(path_, model.SerializeAsString());
  const ModelFile file = read_model(path_);
  EXPECT_TRUE(array_of(file.proto.graph().initializer(0), file.data).is_unread());
  nn::Graph graph = import_model(path_);
  expect_right(graph);
}

// Raw bytes that nobody is to read, beside those of another file.
TEST_F(LargeOnnxTensors, OfAnotherFileAreReadThere) {
  ::onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(read_bytes(path_)));
  ::onnx::TensorProto& w = *model.mutable_graph()->mutable_initializer(0);
  write_bytes(folder_ / "w.bin", w.raw_data());
  w.set_raw_data(std::string(w.raw_data().size(), 'x'));
  w.set_data_location(::onnx::TensorProto::EXTERNAL);
  auto* location = w.add_external_data();
  location->set_key("location");
  location->set_value("w.bin");
  write_bytes(path_, model.SerializeAsString());
  nn::Graph graph = import_model(path_);
  expect_right(graph);
}

TEST_F(LargeOnnxTensors, AreThereWhenTheFileIsRemoved) {
  nn::Graph graph = import_model(path_);
  std::filesystem::remove(path_);
  expect_right(graph);
}

TEST_F(LargeOnnxTensors, AreRefusedWhereTheFileEndsEarly) {
  const std::string bytes = read_bytes(path_);
  for (size_t size = 0; size < bytes.size(); size += size < 200 || bytes.size() - size < 200 ? 1 : 997) {
    write_bytes(path_, bytes.substr(0, size));
    EXPECT_THROW(import_model(path_), FormatError) << size;
  }
}

// Data that lies beside the model.
class OnnxExternalData : public ::testing::Test {
 protected:
  ModelBuilder model(const std::string& location, const std::string& offset = "0") {
    ModelBuilder built;
    built.input("x", {-1}).node("Add", {"x", "w"}, {"y"}).output("y");
    ::onnx::TensorProto& w = *built.proto().mutable_graph()->add_initializer();
    w.set_name("w");
    w.set_data_type(::onnx::TensorProto::FLOAT);
    w.add_dims(2);
    w.set_data_location(::onnx::TensorProto::EXTERNAL);
    for (const auto& [key, value] : {std::pair<std::string, std::string>{"location", location}, {"offset", offset}}) {
      auto* entry = w.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    return built;
  }

  void write_data(const std::filesystem::path& path) {
    const float values[] = {7, 1, 2};
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(values), sizeof values);
  }

  TempFolder folder_;
};

TEST_F(OnnxExternalData, IsReadFromItsOffset) {
  write_data(folder_.path() / "weights.bin");
  nn::Graph graph = model("weights.bin", "4").import(folder_.path());
  EXPECT_THAT(graph(tensor({2}, {0, 0})).data().to_vector<float>(), ElementsAre(1, 2));
}

TEST_F(OnnxExternalData, MustLieInTheFileAndTheFolder) {
  write_data(folder_.path() / "weights.bin");
  EXPECT_THROW(model("weights.bin", "8").import(folder_.path()), FormatError);  // beyond its end
  EXPECT_THROW(model("other.bin").import(folder_.path()), IOError);
  std::filesystem::create_directory(folder_.path() / "inner");
  EXPECT_THROW(model("../weights.bin").import(folder_.path() / "inner"), FormatError);
  EXPECT_THROW(model((folder_.path() / "weights.bin").string()).import(folder_.path()), FormatError);
}

TEST(OnnxImport, AnImportedGraphIsSavedAndLoadedLikeAnyOther) {
  ModelBuilder model;
  model.input("x", {-1, 3, 8, 8}).initializer("w", {4, 3, 3, 3}, std::vector<float>(108, 0.5f));
  model.node("Conv", {"x", "w"}, {"c"}, {ModelBuilder::list("pads", {1, 1, 1, 1})})
      .node("Relu", {"c"}, {"y"})
      .output("y");
  nn::Graph graph = model.import();
  const TempFolder folder;
  save_model(graph, folder.path() / "model.safetensors");
  nn::Graph loaded = load_model(folder.path() / "model.safetensors");
  const Tensor x(NDArray::full({2, 3, 8, 8}, 1.0));
  EXPECT_EQ(graph(x).data().to_vector<float>(), loaded(x).data().to_vector<float>());
}

// A view of the same memory, of the same shape.
TEST(OnnxImport, TheTransposeOfASquareMatrixIsNotTheMatrix) {
  ModelBuilder model(13);
  model.input("x", {-1, 2}).output("y").initializer("w", {2, 2}, {1, 2, 3, 4});
  model.node("Gemm", {"x", "w"}, {"a"}, {ModelBuilder::integer("transB", 1), ModelBuilder::number("alpha", 0.5f)});
  model.node("Transpose", {"w"}, {"t"}).node("Add", {"a", "t"}, {"b"}).node("Add", {"b", "w"}, {"y"});
  nn::Graph graph = model.import();
  // Half of x times w's transpose, and w and its transpose.
  EXPECT_THAT(graph(Tensor(NDArray::from_vector<float>({2, 0, 0, 2}, {2, 2}))).data().to_vector<float>(),
              ::testing::ElementsAre(1 + 1 + 1, 3 + 3 + 2, 2 + 2 + 3, 4 + 4 + 4));
}

}  // namespace
}  // namespace thimble::onnx
