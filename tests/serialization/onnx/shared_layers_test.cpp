// Layers that are called several times: one initializer in a file of ONNX, one layer or one array of weights of it.
#include <set>

#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/onnx/exporter.h>
#include <thimble/serialization/onnx/importer.h>

namespace thimble::onnx {
namespace {

NDArray pair_of_images(int64_t batch) {
  Generator generator(5);
  return randn({batch, 2, 8, 4}, generator);
}

struct SiameseNet : nn::Module {
  nn::Submodule<nn::ConvBNReLU> block{this, "block", 2, 4, 3, nn::Conv2d::Options{.padding = 1}};
  nn::Submodule<nn::Linear> fc{this, "fc", 64, 8}, steps{this, "steps", 8, 8}, head{this, "head", 8, 3};

  Tensor tower(const Tensor& x) { return relu(fc(flatten(block(x), 1))); }
  Tensor forward(const Tensor& x) override {
    Tensor h = tower(slice(x, 2, 0, 4)) - tower(0.25 * slice(x, 2, 4, 8));
    for (int i = 0; i < 3; ++i) h = relu(steps(h));
    return head(h);
  }
};

nn::Graph siamese_net() {
  manual_seed(3);
  SiameseNet net;
  net(Tensor(pair_of_images(8)));
  return nn::trace(net.eval(), Tensor(pair_of_images(2)));
}

int initializers_of(const ::onnx::ModelProto& model, int type, int dims) {
  int count = 0;
  for (const auto& tensor : model.graph().initializer())
    count += tensor.data_type() == type && tensor.dims_size() == dims;
  return count;
}

TEST(OnnxSharedLayers, FloatWeightsAreWrittenOnceAndNodesCallOneLayer) {
  nn::Graph graph = siamese_net();
  const ::onnx::ModelProto model = Exporter(graph, {}).run();
  EXPECT_EQ(initializers_of(model, ::onnx::TensorProto::FLOAT, 2), 3);
  EXPECT_EQ(initializers_of(model, ::onnx::TensorProto::FLOAT, 4), 1);
  nn::Graph again = Importer(model, ".").run();
  EXPECT_EQ(again.children().size(), graph.children().size()) << again.table();
  EXPECT_EQ(again.num_parameters(), graph.num_parameters() + 1);  // the factor
  const Tensor x(pair_of_images(5));
  EXPECT_EQ(again(x).data().to_vector<float>(), graph(x).data().to_vector<float>());
  // So it is quantized with one set of weights.
  const nn::Graph int8 = quant::quantize_model(again, [&](nn::Graph& prepared) { prepared(x); });
  std::set<const void*> weights;
  int products = 0;
  for (const nn::Node* node : int8.nodes())
    if (const auto* layer = int8.layer_as<quant::IntegerProduct>(node)) {
      weights.insert(layer->weights().values().data().address());
      ++products;
    }
  EXPECT_EQ(products, 8) << int8.table();
  EXPECT_EQ(weights.size(), 4u);
}

TEST(OnnxSharedLayers, IntegerWeightsAreWrittenOnceAndSharedAgain) {
  const Tensor x(pair_of_images(16));
  nn::Graph int8 = quant::quantize_model(siamese_net(), [&](nn::Graph& prepared) { prepared(x); });
  const ::onnx::ModelProto model = Exporter(int8, {}).run();
  EXPECT_EQ(initializers_of(model, ::onnx::TensorProto::INT8, 4), 1);
  EXPECT_EQ(initializers_of(model, ::onnx::TensorProto::INT8, 2), 3);
  nn::Graph again = Importer(model, ".").run();
  EXPECT_EQ(again(x).data().to_vector<float>(), int8(x).data().to_vector<float>());
  std::set<const void*> weights;
  int products = 0;
  for (const nn::Node* node : again.nodes())
    if (const auto* layer = again.layer_as<quant::IntegerProduct>(node)) {
      weights.insert(layer->weights().values().data().address());
      ++products;
    }
  EXPECT_EQ(products, 8) << again.table();
  EXPECT_EQ(weights.size(), 4u);
}

// MatMul has its weights the other way round than Linear.
TEST(OnnxSharedLayers, NodesWithOneMatrixCallOneLayer) {
  ::onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  auto& graph = *model.mutable_graph();
  const auto declare = [](::onnx::ValueInfoProto& info, const char* name) {
    info.set_name(name);
    auto& tensor = *info.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(::onnx::TensorProto::FLOAT);
    for (const int64_t size : {2, 3}) tensor.mutable_shape()->add_dim()->set_dim_value(size);
  };
  declare(*graph.add_input(), "x");
  declare(*graph.add_output(), "y2");
  auto& weight = *graph.add_initializer();
  weight.set_name("w");
  weight.set_data_type(::onnx::TensorProto::FLOAT);
  for (const int64_t size : {3, 3}) weight.add_dims(size);
  for (int i = 0; i < 9; ++i) weight.add_float_data(static_cast<float>(i) - 4);
  const char* names[] = {"x", "y0", "y1", "y2"};
  for (int i = 0; i < 3; ++i) {
    auto& node = *graph.add_node();
    node.set_op_type("MatMul");
    node.add_input(names[i]);
    node.add_input("w");
    node.add_output(names[i + 1]);
  }
  nn::Graph imported = Importer(model, ".").run();
  EXPECT_EQ(imported.children().size(), 1u) << imported.table();
  EXPECT_EQ(imported.calls_of_layer(imported.find("y0")), 3);
  Generator generator(1);
  const NDArray x = randn({2, 3}, generator);
  Tensor expected(x);
  std::vector<float> w(9);
  for (int i = 0; i < 9; ++i) w[static_cast<size_t>(i)] = static_cast<float>(i) - 4;
  for (int i = 0; i < 3; ++i) expected = matmul(expected, Tensor(NDArray::from_vector(w, {3, 3})));
  const auto got = imported(Tensor(x)).data().to_vector<float>(), wanted = expected.data().to_vector<float>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-3);
}

}  // namespace
}  // namespace thimble::onnx
