#include <algorithm>
#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/files.h"
#include "tests/serialization/onnx/evaluator.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv3d.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/exporter.h>
#include <thimble/serialization/onnx/importer.h>

namespace thimble::onnx {
namespace {

using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelProto exported(const nn::Graph& graph, const ExportOptions& options = {}) {
  return Exporter(graph, options).run();
}

std::string refusal_of(const nn::Graph& graph, const ExportOptions& options = {}) {
  try {
    exported(graph, options);
  } catch (const ValueError& e) {
    return e.what();
  }
  return "";
}

std::vector<std::string> ops_of(const ModelProto& model) {
  std::vector<std::string> ops;
  for (const NodeProto& node : model.graph().node()) ops.push_back(node.op_type());
  return ops;
}

std::vector<const NodeProto*> nodes_of(const ModelProto& model, const std::string& op) {
  std::vector<const NodeProto*> nodes;
  for (const NodeProto& node : model.graph().node())
    if (node.op_type() == op) nodes.push_back(&node);
  return nodes;
}

const ::onnx::TensorProto* initializer(const ModelProto& model, const std::string& name) {
  for (const auto& tensor : model.graph().initializer())
    if (tensor.name() == name) return &tensor;
  return nullptr;
}

const NodeProto* producer(const ModelProto& model, const std::string& name) {
  for (const NodeProto& node : model.graph().node())
    if (std::ranges::count(node.output(), name) > 0) return &node;
  return nullptr;
}

NDArray random_batch(const Shape& shape, uint64_t seed = 1) {
  Generator generator(seed);
  return randn(shape, generator);
}

// Two convolutions, of which the first's values are added to the second's, pools, and two linear layers.
struct Net : nn::Module {
  nn::Submodule<nn::ConvBNReLU> first{this, "first", 2, 4, 3, {.padding = 1}};
  nn::Submodule<nn::ConvBNReLU> second{this, "second", 4, 4, 3, {.padding = 1}};
  nn::Submodule<nn::Linear> fc{this, "fc", 36, 8};
  nn::Submodule<nn::Linear> head{this, "head", 8, 3};

  Tensor forward(const Tensor& x) override {
    const Tensor h = first(x);
    return head(relu(fc(flatten(max_pool2d(h + second(h), 2), 1))));
  }
};

// With statistics that are not those it begins with.
nn::Graph traced_net() {
  manual_seed(3);
  Net net;
  for (int step = 0; step < 4; ++step) net(Tensor(random_batch({8, 2, 6, 6}, static_cast<uint64_t>(step))));
  return nn::trace(net.eval(), Tensor(random_batch({2, 2, 6, 6})));
}

nn::Graph imported(const ModelProto& model) { return Importer(model, ".").run(); }

TEST(OnnxExport, AFloatNetworkIsTheSameAfterExportAndImport) {
  nn::Graph graph = traced_net();
  nn::Graph again = imported(exported(graph));
  for (const int64_t batch : {1, 3, 17}) {
    const Tensor x(random_batch({batch, 2, 6, 6}, 9));
    EXPECT_EQ(again(x).data().to_vector<float>(), graph(x).data().to_vector<float>());
  }
}

TEST(OnnxExport, InputsAndOutputsKeepNamesAndTheBatchIsFree) {
  nn::Graph graph = traced_net();
  graph.rename(graph.inputs()[0], "picture");
  graph.set_outputs({{"logits", graph.output()}, {"features", graph.find("fc")}, {"same", graph.output()}});
  const ModelProto model = exported(graph, {.metadata = {{"dataset", "mnist"}}});
  ASSERT_EQ(model.graph().input_size(), 1);
  EXPECT_EQ(model.graph().input(0).name(), "picture");
  const auto& dims = model.graph().input(0).type().tensor_type().shape();
  EXPECT_EQ(dims.dim(0).dim_param(), "batch");
  EXPECT_EQ(dims.dim(3).dim_value(), 6);
  ASSERT_EQ(model.graph().output_size(), 3);
  EXPECT_EQ(model.graph().output(0).name(), "logits");
  EXPECT_EQ(model.graph().output(1).name(), "features");
  EXPECT_EQ(model.graph().output(1).type().tensor_type().shape().dim(0).dim_param(), "batch");
  EXPECT_EQ(model.metadata_props(0).key(), "dataset");
  EXPECT_EQ(model.opset_import(0).version(), 17);
  EXPECT_EQ(model.ir_version(), 8);
  nn::Graph again = imported(model);
  const Tensor x(random_batch({2, 2, 6, 6}));
  const nn::NamedTensors expected = graph.run({{"picture", x}}), got = again.run({{"picture", x}});
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(got[i].second.data().to_vector<float>(), expected[i].second.data().to_vector<float>());
}

// Of everything that the importer reads the same way.
struct ManyOps : nn::Module {
  nn::Submodule<nn::ConvTranspose2d> up{this, "up", 2, 3, 3, {.stride = 2, .padding = 1, .output_padding = 1}};
  nn::Submodule<nn::Conv1d> line{this, "line", 4, 5, 3, {.stride = 2, .padding = 1}};
  nn::Submodule<nn::BatchNorm1d> norm{this, "norm", 5};
  nn::Submodule<nn::Linear> rows{this, "rows", 4, 6};
  nn::Submodule<nn::Dropout> drop{this, "drop", 0.5};

  Tensor forward(const Tensor& x) override {
    const Tensor a = leaky_relu(up(x), 0.2);
    const Tensor b = avg_pool2d(pad(a, {1, 0, 0, 1}, 0.5), 3, {.stride = 2, .padding = 1});
    const Tensor c = upsample_nearest2d(max_pool2d(b, 2, {.padding = 1, .ceil_mode = true}), {1, 2});
    const Tensor d = permute(reshape(c, {-1, 3, 8}), {0, 2, 1});
    const Tensor e = transpose(concat({slice(d, 1, 0, 4), slice(d, 1, -4, 9)}, -1), 1, 2);  // [n, 6, 4]
    const Tensor f = drop(rows(e));                                                         // [n, 6, 6]
    const Tensor g = sigmoid(f) + tanh(exp(clamp(f, -2.0, 1.0)));
    const Tensor h = softmax(g / sqrt(abs(f) + 1.0), -1) - log_softmax(maximum(g, f * f), 1);
    const Tensor i = norm(line(slice(h, 1, 0, 4)));  // [n, 5, 3]
    const Tensor j = pow(i, 2.0) + mean(i, {-1}, true) + minimum(sum(i, {1, 2}, true), erf(max(i, {1}, true)));
    return squeeze(unsqueeze(relu6(j), 1), 1) - logsumexp(j, {2}, true) * min(j);
  }
};

TEST(OnnxExport, OpsAreTheSameAfterExportAndImport) {
  manual_seed(5);
  ManyOps model;
  nn::Graph graph = nn::trace(model.eval(), Tensor(random_batch({2, 2, 5, 5})));
  for (const int64_t opset : {17, 25}) {
    nn::Graph again = imported(exported(graph, {.opset = opset}));
    for (const int64_t batch : {1, 4}) {
      const Tensor x(random_batch({batch, 2, 5, 5}, 7));
      const auto expected = graph(x).data().to_vector<float>(), got = again(x).data().to_vector<float>();
      ASSERT_EQ(got.size(), expected.size());
      for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5 * (1 + std::abs(expected[i])));
    }
  }
}

struct Volumes : nn::Module {
  nn::Submodule<nn::Conv3d> first{this, "first", 2, 4, Triple(2, 3, 1), {.stride = {1, 2, 1}, .padding = {1, 1, 0}}};
  nn::Submodule<nn::BatchNorm3d> norm{this, "norm", 4};
  nn::Submodule<nn::ConvTranspose3d> up{this, "up", 4, 4, 3, {.stride = 2, .padding = 1, .output_padding = 1}};
  Tensor cube = Tensor(random_batch({4, 2, 2, 2, 2}, 3)), bias = Tensor(random_batch({4}, 4));

  Tensor forward(const Tensor& x) override {
    const Tensor a = max_pool3d(up(norm(first(x))), {2, 3, 2}, {.stride = 2, .padding = 1, .ceil_mode = true});
    const Tensor b = avg_pool3d(conv3d(a, cube, bias, {.padding = 1, .groups = 2}), 2, {.stride = Triple(1, 2, 1)});
    const Tensor c = conv_transpose3d(b, cube, {}, {.groups = 2});
    return concat({flatten(global_avg_pool3d(c), 1), flatten(lp_pool3d(c, 2, 2), 1)}, 1);
  }
};

TEST(OnnxExport, OpsOnVolumesAreTheSameAfterExportAndImport) {
  manual_seed(6);
  Volumes model;
  nn::Graph graph = nn::trace(model.eval(), Tensor(random_batch({2, 2, 3, 4, 5})));
  const ModelProto exported_model = exported(graph);
  EXPECT_EQ(exported_model.opset_import(0).version(), 17);
  nn::Graph again = imported(exported_model);
  for (const char* type : {"Conv3d", "BatchNorm3d", "ConvTranspose3d"})
    EXPECT_EQ(std::ranges::count_if(again.nodes(), [&](const nn::Node* node) { return again.is_layer(node, type); }),
              type == std::string("BatchNorm3d") ? 1 : 2)
        << type;
  for (const int64_t batch : {1, 3}) {
    const Tensor x(random_batch({batch, 2, 3, 4, 5}, 7));
    EXPECT_EQ(again(x).data().to_vector<float>(), graph(x).data().to_vector<float>());
  }
}

// What the importer reads otherwise, or not yet: ops and attributes.
struct Norms : nn::Module {
  nn::Submodule<nn::Embedding> table{this, "table", 10, 6};
  nn::Submodule<nn::LayerNorm> layer{this, "layer", Shape{6}};
  nn::Submodule<nn::GroupNorm> group{this, "group", 2, 4};

  Tensor forward(const Tensor& index) override { return gelu(group(layer(table(index)))); }
};

TEST(OnnxExport, NormalizationsAndGeluAreOpsWhereTheOpsetHasThem) {
  Norms model;
  const NDArray index = NDArray::zeros({2, 4}, DType::int64);
  const nn::Graph graph = nn::trace(model.eval(), Tensor(index));
  EXPECT_THAT(ops_of(exported(graph)),
              ElementsAre("Gather", "LayerNormalization", "Reshape", "InstanceNormalization", "Shape", "Reshape", "Mul",
                          "Add", "Div", "Erf", "Add", "Mul", "Mul"));
  const ModelProto newer = exported(graph, {.opset = 21});
  EXPECT_THAT(ops_of(newer), ElementsAre("Gather", "LayerNormalization", "GroupNormalization", "Gelu"));
  EXPECT_EQ(newer.ir_version(), 10);
  EXPECT_EQ(newer.graph().input(0).type().tensor_type().elem_type(), ::onnx::TensorProto::INT64);
}

struct Functions : nn::Module {
  Tensor forward(const Tensor& x) override {
    const Tensor a = sin(x) + cos(x) * tan(x) + atan(x) - asinh(sinh(x)) * cosh(x);
    const Tensor b = asin(a / (abs(a) + 1.0)) + acos(sign(x) * 0.5) + atanh(x / (abs(x) + 1.0)) + acosh(abs(x) + 1.0);
    const Tensor c = ceil(a) + floor(b) * round(x) + softsign(a) + softplus(x, 2.0) + softplus(b);
    const Tensor d = elu(a, 0.7) + selu(b) + celu(x, 1.3) + mish(a) + gelu_tanh(b) + threshold(x, 0.2, -1.0);
    const Tensor e = hardshrink(a, 0.4) + softshrink(b, 0.3) + remainder(a, b) + fmod(b, a);
    const Tensor f = where(less(a, b), c, d) + where(logical_not(less_equal(c, d)), e, x);
    const Tensor g = cumsum(f, 1) + triu(f) - tril(f, -1) + prod(f, {1}, true) + concat({f, f}, 0).shape(1);
    const Tensor top = gather(g, 1, topk(g, 3, 1).second);
    return concat({top, cast(argmax(g, 1, true), DType::float32), g}, 1);
  }
};

TEST(OnnxExport, FunctionsAreTheSameAfterExportAndImport) {
  Functions model;
  nn::Graph graph = nn::trace(model.eval(), Tensor(random_batch({3, 5})));
  for (const int64_t opset : {17, 20}) {
    nn::Graph again = imported(exported(graph, {.opset = opset}));
    const Tensor x(random_batch({6, 5}, 7));
    const auto expected = graph(x).data().to_vector<float>(), got = again(x).data().to_vector<float>();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-4 * (1 + std::abs(expected[i])));
  }
}

struct BinaryLoss : nn::Module {
  Tensor forward(const Tensor& x) override {
    return binary_cross_entropy(sigmoid(x), sigmoid(x * 0.3), {Reduction::none}) +
           binary_cross_entropy_with_logits(x, sigmoid(x * 0.3), {Reduction::none});
  }
};

TEST(OnnxExport, BinaryCrossEntropyIsTheSameAfterExportAndImport) {
  BinaryLoss model;
  nn::Graph graph = nn::trace(model.eval(), Tensor(random_batch({3, 5})));
  nn::Graph again = imported(exported(graph, {}));
  const Tensor x(random_batch({6, 5}, 7));
  const auto expected = graph(x).data().to_vector<float>(), got = again(x).data().to_vector<float>();
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5 * (1 + std::abs(expected[i])));
}

// A new op is exported, or it is here. (Recurrent ones ONNX has in another form.)
TEST(OnnxExport, EveryOpHasAFormUnlessOnnxHasNone) {
  const std::set<std::string> without{"batch_norm_train",   "conv2d_weight", "diagonal", "dropout",
                                      "grid_sample",        "gru",           "lstm",     "max_pool2d_indices",
                                      "max_pool3d_indices", "max_unpool2d",  "rnn",      "sum_to"};
  for (const std::string& op : registered_ops()) {
    if (op.ends_with("_backward")) continue;
    EXPECT_NE(export_handler_of(op) != nullptr, without.contains(op)) << op;
  }
}

TEST(OnnxExport, WhatOnnxLacksIsListedWithItsNodes) {
  nn::Graph graph;
  nn::Node* x = graph.add_input("x");
  x->attributes = nn::sample_attributes(Tensor(NDArray::zeros({1, 4})));
  nn::Node* a = graph.add_op("a", "slice_backward",
                             {{"axis", int64_t{1}},
                              {"start", int64_t{0}},
                              {"stop", int64_t{4}},
                              {"step", int64_t{1}},
                              {"shape", std::vector<int64_t>{1, 4}}},
                             {x});
  nn::Node* b = graph.add_op("b", "sum_to", {{"shape", std::vector<int64_t>{4}}}, {a});
  graph.set_output(b);
  EXPECT_THAT(refusal_of(graph), AllOf(HasSubstr("slice_backward ('a')"), HasSubstr("sum_to ('b')")));
  EXPECT_THAT(refusal_of(graph, {.opset = 16}), HasSubstr("opset 16 is not one of 17 to 25"));
  x->attributes = {};
  EXPECT_THAT(refusal_of(graph), HasSubstr("the input 'x' does not say"));
}

// Integers.

nn::Graph calibrated(const nn::Graph& graph, const quant::QConfigMapping& mapping) {
  const Tensor batch(random_batch({32, 2, 6, 6}, 2));
  return quant::quantize_model(
      graph, [&](nn::Graph& prepared) { prepared(batch); }, mapping);
}

// Each node's value against the model's, of the same inputs: integers are equal but for a few that lie between two.
void expect_same_integers(const nn::Graph& graph, const ModelProto& model, const Shape& shape, double most = 0.001) {
  nn::Graph copy = graph.clone();
  const Tensor x(random_batch(shape, 11));
  const std::vector<Tensor> ours = copy.run_all(std::vector{x});
  const auto nodes = copy.nodes();
  Evaluator::Values known;
  for (size_t i = 0; i < nodes.size(); ++i) known[nodes[i]->name] = ours[i];
  const Evaluator::Values theirs = Evaluator(model).run(known);
  int64_t total = 0, different = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto value = theirs.find(nodes[i]->name);
    if (value == theirs.end()) continue;
    const auto a = ours[i].data().to_vector<double>(), b = value->second.data().to_vector<double>();
    ASSERT_EQ(a.size(), b.size()) << nodes[i]->name;
    const bool are_integers = ours[i].dtype() == DType::uint8;
    const double largest = std::abs(*std::ranges::max_element(a, {}, [](double v) { return std::abs(v); }));
    for (size_t k = 0; k < a.size(); ++k) {
      EXPECT_NEAR(a[k], b[k], are_integers ? 1 : 2e-3 * largest) << nodes[i]->name;
      different += are_integers && a[k] != b[k];
    }
    total += are_integers ? static_cast<int64_t>(a.size()) : 0;
  }
  EXPECT_LE(static_cast<double>(different), most * static_cast<double>(total));
}

// Every rule that makes ONNX Runtime compute in integers, to the same ones.
void expect_integer_kernels(const ModelProto& model) {
  for (const char* op : {"QuantizeLinear", "DequantizeLinear"})
    for (const NodeProto* node : nodes_of(model, op)) EXPECT_EQ(node->input_size(), 3) << node->name();
  for (const NodeProto* node : nodes_of(model, "DequantizeLinear")) {
    const auto* values = initializer(model, node->input(0));
    if (!values) continue;
    ASSERT_EQ(node->attribute_size(), 1) << "no axis: " << node->name();
    EXPECT_EQ(node->attribute(0).name(), "axis");
    const auto* zeros = initializer(model, node->input(2));
    EXPECT_EQ(zeros->data_type(), values->data_type());
    EXPECT_THAT(zeros->raw_data(), ::testing::Each('\0'));
  }
  for (const char* op : {"Conv", "Gemm"})
    for (const NodeProto* node : nodes_of(model, op)) {
      const NodeProto *x = producer(model, node->input(0)), *w = producer(model, node->input(1)),
                      *b = producer(model, node->input(2));
      ASSERT_TRUE(x && w && b);
      for (const NodeProto* operand : {x, w, b}) EXPECT_EQ(operand->op_type(), "DequantizeLinear");
      const auto x_scale = reinterpret_cast<const float*>(initializer(model, x->input(1))->raw_data().data())[0];
      const std::string &w_scale = initializer(model, w->input(1))->raw_data(),
                        &b_scale = initializer(model, b->input(1))->raw_data();
      for (size_t i = 0; i < w_scale.size() / 4; ++i)
        EXPECT_EQ(reinterpret_cast<const float*>(b_scale.data())[i],
                  x_scale * reinterpret_cast<const float*>(w_scale.data())[i]);
      for (const NodeProto& user : model.graph().node())
        if (std::ranges::count(user.input(), node->output(0)) > 0) {
          EXPECT_EQ(user.op_type(), "QuantizeLinear") << "behind " << node->name();
        }
    }
}

TEST(OnnxExport, StaticLayersAreBetweenDequantizeAndQuantize) {
  const nn::Graph graph = calibrated(traced_net(), quant::QConfigMapping::static_int8());
  const ModelProto model = exported(graph);
  EXPECT_EQ(model.opset_import(0).version(), 17);
  const std::vector<std::string> ops = ops_of(model);
  EXPECT_EQ(std::ranges::count(ops, "Relu"), 0);  // the ranges imply them
  EXPECT_EQ(std::ranges::count(ops, "Conv"), 2);
  EXPECT_EQ(std::ranges::count(ops, "Gemm"), 2);
  EXPECT_EQ(std::ranges::count(ops, "Clip"), 0);
  expect_integer_kernels(model);
  expect_same_integers(graph, model, {5, 2, 6, 6});
}

TEST(OnnxExport, FewBitsAreWeightsOfEightAndAClipOfIntegers) {
  const nn::Graph graph = calibrated(traced_net(), quant::QConfigMapping::static_int4());
  const ModelProto model = exported(graph);
  expect_integer_kernels(model);
  for (const NodeProto* clip : nodes_of(model, "Clip"))
    EXPECT_EQ(initializer(model, clip->input(2))->raw_data(), std::string(1, 15));
  EXPECT_FALSE(nodes_of(model, "Clip").empty());
  const auto* weight = initializer(model, "fc.weight");
  for (const char w : weight->raw_data()) EXPECT_EQ(w % 16, 0);
  expect_same_integers(graph, model, {5, 2, 6, 6});
}

TEST(OnnxExport, ReducedRangesHaveWeightsOfSevenBits) {
  const nn::Graph graph = calibrated(traced_net(), quant::QConfigMapping::static_int8());
  const ModelProto model = exported(graph, {.reduce_range = true});
  expect_integer_kernels(model);
  bool uses_all = false;
  for (const char* name : {"first.conv.weight", "second.conv.weight", "fc.weight", "head.weight"})
    for (const char w : initializer(model, name)->raw_data()) {
      EXPECT_LE(std::abs(static_cast<int>(w)), 64);
      uses_all |= std::abs(static_cast<int>(w)) > 60;
    }
  EXPECT_TRUE(uses_all);
  // Of weights of few bits nothing is lost; biases are rounded to half as many steps.
  const nn::Graph few = calibrated(traced_net(), quant::QConfigMapping::static_int4());
  expect_same_integers(few, exported(few, {.reduce_range = true}), {5, 2, 6, 6}, 0.01);
}

// Weights of groups, and a convolution that gives floats: sums in ops of their own.
TEST(OnnxExport, WhatQuantizeLinearCannotSayAreIntegerSums) {
  manual_seed(4);
  quant::QConfig groups;
  groups.weight.group_size = 10;
  nn::Sequential model(nn::Conv2d(2, 3, 3, {.padding = 1}), nn::ReLU(), nn::Flatten(), nn::Linear(108, 4));
  const nn::Graph graph = calibrated(nn::trace(model.eval(), Tensor(random_batch({1, 2, 6, 6}))),
                                     quant::QConfigMapping::static_int8().set_type("Linear", groups));
  const ModelProto exported_groups = exported(graph);
  EXPECT_EQ(nodes_of(exported_groups, "MatMulInteger").size(), 11u);
  expect_same_integers(graph, exported_groups, {3, 2, 6, 6});

  nn::Sequential only(nn::Conv2d(2, 3, 3, {.padding = 1}));
  const nn::Graph conv =
      calibrated(nn::trace(only.eval(), Tensor(random_batch({1, 2, 6, 6}))), quant::QConfigMapping::static_int8());
  const ModelProto exported_conv = exported(conv);
  EXPECT_EQ(nodes_of(exported_conv, "ConvInteger").size(), 1u);
  EXPECT_TRUE(nodes_of(exported_conv, "Conv").empty());
  expect_same_integers(conv, exported_conv, {3, 2, 6, 6});
}

// ONNX Runtime would quantize their weights.
TEST(OnnxExport, LayersThatAreKeptFloatStayFloat) {
  const nn::Graph graph = calibrated(traced_net(), quant::QConfigMapping::static_int8().set_name("fc", std::nullopt));
  const ModelProto model = exported(graph);
  EXPECT_EQ(initializer(model, "fc.weight")->data_type(), ::onnx::TensorProto::FLOAT);
  const NodeProto* quantize = nullptr;
  for (const NodeProto* node : nodes_of(model, "QuantizeLinear"))
    if (const NodeProto* before = producer(model, node->input(0)); before && before->op_type() == "Max")
      quantize = node;
  ASSERT_NE(quantize, nullptr);
  EXPECT_EQ(producer(model, producer(model, quantize->input(0))->input(0))->op_type(), "Gemm");  // its relu is implied
}

TEST(OnnxExport, ClampsThatIntegersImplyAreLeftOut) {
  nn::Graph graph;
  nn::Node* x = graph.add_input("x");
  x->attributes = nn::sample_attributes(Tensor(NDArray::zeros({1, 4})));
  nn::Node* y = graph.add_op("y", "relu6", {}, {x});
  const auto ops_for = [&](double scale, int zero_point) {
    nn::Graph copy = graph.clone();
    nn::Node* q = copy.add_layer(
        "q", std::make_shared<quant::Quantize>(quant::TensorQParams{static_cast<float>(scale), zero_point, 8}),
        {copy.find("y")});
    copy.set_output(copy.add_layer(
        "z", std::make_shared<quant::Dequantize>(quant::TensorQParams{static_cast<float>(scale), zero_point, 8}), {q}));
    return ops_of(exported(copy));
  };
  graph.set_output(y);
  const std::vector<std::string> without{"QuantizeLinear", "DequantizeLinear"},
      with{"Clip", "QuantizeLinear", "DequantizeLinear"};
  EXPECT_EQ(ops_for(6.0 / 255, 0), without);
  EXPECT_EQ(ops_for(std::nextafter(6.0f / 255, 1.0f), 0), without);  // which ONNX Runtime refuses with the Clip
  EXPECT_EQ(ops_for(6.011 / 255, 0), without);
  EXPECT_EQ(ops_for(6.02 / 255, 0), with);
  EXPECT_EQ(ops_for(5.0 / 255, 0), without);
  EXPECT_EQ(ops_for(5.0 / 255, 3), with);
}

TEST(OnnxExport, DynamicLayersFindTheirRangesAsOursDo) {
  const nn::Graph graph = quant::fuse_conv_bn_relu(traced_net());
  for (const quant::DynamicRange range : {quant::DynamicRange::call, quant::DynamicRange::row})
    for (const int bits : {8, 6}) {
      quant::QConfig config = quant::QConfig::of_bits(bits, bits);
      config.dynamic_range = range;
      const nn::Graph dynamic = quant::quantize_dynamic(graph, quant::QConfigMapping().set_global(config));
      const ModelProto model = exported(dynamic);
      const bool has_op = range == quant::DynamicRange::call && bits == 8;
      EXPECT_EQ(nodes_of(model, "DynamicQuantizeLinear").size(), has_op ? 4u : 0u);
      EXPECT_EQ(nodes_of(model, "ConvInteger").size(), 2u);
      EXPECT_EQ(nodes_of(model, "MatMulInteger").size(), 2u);
      expect_same_integers(dynamic, model, {5, 2, 6, 6});
    }
}

TEST(OnnxExport, WeightsAloneAreDequantizedInBlocks) {
  manual_seed(6);
  nn::Sequential model(nn::Linear(70, 20), nn::ReLU(), nn::Linear(20, 5));
  const nn::Graph graph = nn::trace(model.eval(), Tensor(random_batch({1, 70})));
  for (const int bits : {2, 3, 4, 5, 8})
    for (const quant::QScheme scheme : {quant::QScheme::symmetric, quant::QScheme::affine})
      for (const int64_t group : {0, 16}) {
        quant::QConfig config;
        config.weight = {.bits = bits,
                         .is_signed = scheme == quant::QScheme::symmetric,
                         .scheme = scheme,
                         .axis = 0,
                         .group_size = group};
        const nn::Graph few = quant::quantize_weight_only(graph, quant::QConfigMapping().set_global(config));
        Exporter exporter(few, {});
        const ModelProto proto = exporter.run();
        const int64_t least = bits == 2 ? 25 : bits <= 4 || group > 0 ? 21 : 17;
        EXPECT_EQ(exporter.report().opset, least);
        ASSERT_EQ(exporter.report().session_options.size(), 1u);
        EXPECT_EQ(exporter.report().session_options[0].key, "session.qdq_matmulnbits_accuracy_level");
        if (least > 17) {
          EXPECT_THAT(refusal_of(few, {.opset = least - 1}), HasSubstr(str("it takes opset ", least)));
        }
        // ONNX Runtime's product of 2 bits is wrong for outputs that are no multiple of 4, and of one with a Relu it
        // makes a product of floats.
        EXPECT_EQ(nodes_of(proto, "Transpose").size(), bits == 2 ? 1u : 0u);
        EXPECT_EQ(nodes_of(proto, "Max").size(), 1u);
        expect_same_integers(few, proto, {3, 70});
      }
}

TEST(OnnxExport, FakeQuantizationIsQuantizeAndDequantize) {
  nn::Graph graph = quant::prepare_qat(traced_net(), quant::QConfigMapping::static_int4());
  for (int step = 0; step < 3; ++step) graph(Tensor(random_batch({16, 2, 6, 6}, static_cast<uint64_t>(step))));
  for (const bool settled : {false, true}) {
    if (settled) quant::freeze_bn_stats(graph), quant::disable_observer(graph);
    const ModelProto model = exported(graph);
    for (const char* op : {"Conv", "Gemm"})
      for (const NodeProto* product : nodes_of(model, op))
        for (int i : {0, 1}) EXPECT_EQ(producer(model, product->input(i))->op_type(), "DequantizeLinear");
    EXPECT_TRUE(nodes_of(model, "BatchNormalization").empty());
    const auto* bias = initializer(model, "fc.integer_bias");
    EXPECT_EQ(bias != nullptr, settled);
    EXPECT_EQ(initializer(model, "fc.integer_weight")->data_type(), ::onnx::TensorProto::INT8);
    graph.eval();
    const Tensor x(random_batch({4, 2, 6, 6}, 5));
    const auto expected = graph(x).data().to_vector<float>();
    const auto got = Evaluator(model).run({{"input", x}}).at(model.graph().output(0).name()).data().to_vector<float>();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 0.02);
    graph.train();
  }
}

struct Joined : nn::Module {
  nn::Submodule<nn::Conv2d> a{this, "a", 2, 4, 3};
  nn::Submodule<nn::Conv2d> b{this, "b", 2, 4, 3};
  nn::Submodule<nn::Conv2d> c{this, "c", 8, 4, 1};
  nn::Submodule<nn::Linear> fc{this, "fc", 4, 3};

  // b(x) is added, and concatenated with parameters that are not its own.
  Tensor forward(const Tensor& x) override {
    const Tensor v = b(x);
    return fc(flatten(global_avg_pool2d(c(concat({relu(a(x) + v), v}, 1))), 1));
  }
};

TEST(OnnxExport, AdditionsConcatenationsAndMeansAreOfIntegers) {
  manual_seed(8);
  Joined model;
  const nn::Graph graph =
      calibrated(nn::trace(model.eval(), Tensor(random_batch({1, 2, 6, 6}))), quant::QConfigMapping::static_int8());
  const ModelProto proto = exported(graph);
  EXPECT_EQ(nodes_of(proto, "GlobalAveragePool").size(), 1u);
  EXPECT_EQ(nodes_of(proto, "Add").size(), 1u);
  expect_integer_kernels(proto);
  expect_same_integers(graph, proto, {5, 2, 6, 6});
}

// ONNX Runtime makes one of two pairs of QuantizeLinear and DequantizeLinear that follow each other.
TEST(OnnxExport, IntegersOfOtherParametersAreNotMergedWithThoseBefore) {
  nn::Graph graph;
  nn::Node* x = graph.add_input("x");
  x->attributes = nn::sample_attributes(Tensor(NDArray::zeros({1, 40})));
  const quant::TensorQParams p{0.02f, 100, 8}, q{0.013f, 90, 8};
  nn::Node* a = graph.add_layer("a", std::make_shared<quant::Quantize>(p), {x});
  nn::Node* b = graph.add_layer("b", std::make_shared<quant::Requantize>(p, q), {a});
  graph.set_output(graph.add_layer("c", std::make_shared<quant::Dequantize>(q), {b}));
  const ModelProto model = exported(graph);
  EXPECT_THAT(ops_of(model),
              ElementsAre("QuantizeLinear", "Clip", "DequantizeLinear", "QuantizeLinear", "DequantizeLinear"));
  expect_same_integers(graph, model, {20, 40});
}

TEST(OnnxExport, AFileIsWrittenWholeOrNotAtAll) {
  const TempFolder folder;
  const auto path = folder / "model.onnx";
  const ExportReport report = export_model(traced_net(), path);
  EXPECT_EQ(report.opset, 17);
  EXPECT_EQ(report.nodes, 12);
  const auto before = std::filesystem::file_size(path);
  nn::Graph bad;
  nn::Node* x = bad.add_input("x");
  bad.set_output(bad.add_op("y", "relu", {}, {x}));
  EXPECT_THROW(export_model(bad, path), ValueError);
  EXPECT_EQ(std::filesystem::file_size(path), before);
  EXPECT_THROW(export_model(traced_net(), folder / "nowhere" / "model.onnx"), IOError);
}

}  // namespace
}  // namespace thimble::onnx
