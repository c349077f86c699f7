// Float convolutions and matrix products, and layers that hand their input on.
#include <thimble/core/ops/conv.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_products.h>

namespace thimble::onnx {

namespace {

using nn::Node;

// x, and what a layer has besides.
std::vector<std::string> with_tensors(Exporter& e, const Node& node, const Tensor& weight, const Tensor& bias) {
  std::vector<std::string> inputs{e.input(node, 0), e.tensor(node, "weight", weight.data())};
  if (bias.defined()) inputs.push_back(e.tensor(node, "bias", bias.data()));
  return inputs;
}

// Gemm takes matrices only.
void write_linear(Exporter& e, const Node& node) {
  const auto& linear = *e.graph().layer_as<nn::Linear>(&node);
  const bool relu = linear.type() == "LinearReLU";
  if (e.input_type(node, 0).rank() == 2)
    return write_activated(e, node, relu, "Gemm", with_tensors(e, node, linear.weight, linear.bias),
                           {{"transB", true}});
  const std::string x = e.input(node, 0);
  const std::string weight = e.tensor(node, "weight", linear.weight.data().transpose(0, 1));
  if (!linear.bias.defined()) return write_activated(e, node, relu, "MatMul", {x, weight});
  const std::string product = e.step(node, "MatMul", {x, weight});
  write_activated(e, node, relu, "Add", {product, e.tensor(node, "bias", linear.bias.data())});
}

void write_conv2d_layer(Exporter& e, const Node& node) {
  const auto& conv = *e.graph().layer_as<nn::Conv2d>(&node);
  write_activated(e, node, conv.type() == "Conv2dReLU", "Conv", with_tensors(e, node, conv.weight, conv.bias),
                  conv_attributes_of(conv.options(), conv.kernel().to_vector()));
}

void write_conv1d_layer(Exporter& e, const Node& node) {
  const auto& conv = *e.graph().layer_as<nn::Conv1d>(&node);
  const Attributes a = conv.attributes();
  const auto list = [&](const char* key) { return std::vector{a.get<int64_t>(key)}; };
  const auto padding = a.get<int64_t>("padding");
  e.result(node, "Conv", with_tensors(e, node, conv.weight, conv.bias),
           {{"kernel_shape", list("kernel_size")},
            {"strides", list("stride")},
            {"pads", std::vector{padding, padding}},
            {"dilations", list("dilation")},
            {"group", a.get<int64_t>("groups")}});
}

void write_conv_transpose2d_layer(Exporter& e, const Node& node) {
  const auto& conv = *e.graph().layer_as<nn::ConvTranspose2d>(&node);
  const Attributes a = conv.attributes();
  Attributes attributes =
      conv_attributes_of(Conv2dOptions::from_attributes(a), a.get<std::vector<int64_t>>("kernel_size"));
  attributes.set("output_padding", a.get<std::vector<int64_t>>("output_padding"));
  e.result(node, "ConvTranspose", with_tensors(e, node, conv.weight, conv.bias), attributes);
}

// Ops, whose weights are values of other nodes.

std::vector<int64_t> kernel_of(const Exporter& e, const Node& node) {
  const std::vector<int64_t>& weight = e.input_type(node, 1).sizes;
  Exporter::require(weight.size() == 4 && weight[2] > 0 && weight[3] > 0, "its kernel is of a free size");
  return {weight[2], weight[3]};
}

void write_conv2d_op(Exporter& e, const Node& node) {
  Attributes attributes = conv_attributes_of(Conv2dOptions::from_attributes(node.attributes), kernel_of(e, node));
  const bool is_transposed = node.target == "conv_transpose2d";
  if (is_transposed) attributes.set("output_padding", node.attributes.get<std::vector<int64_t>>("output_padding"));
  e.result(node, is_transposed ? "ConvTranspose" : "Conv", e.operands(node), attributes);
}

void write_linear_op(Exporter& e, const Node& node) {
  const std::vector<std::string> inputs = e.operands(node);
  if (e.input_type(node, 0).rank() == 2) {
    e.result(node, "Gemm", inputs, {{"transB", true}});
    return;
  }
  const std::string weight = e.step(node, "Transpose", {inputs[1]}, {{"perm", std::vector<int64_t>{1, 0}}});
  if (inputs.size() == 2)
    e.result(node, "MatMul", {inputs[0], weight});
  else
    e.result(node, "Add", {e.step(node, "MatMul", {inputs[0], weight}), inputs[2]});
}

void write_matmul(Exporter& e, const Node& node) { e.result(node, "MatMul", e.operands(node)); }

void write_embedding_layer(Exporter& e, const Node& node) {
  const auto& embedding = *e.graph().layer_as<nn::Embedding>(&node);
  e.result(node, "Gather", {e.tensor(node, "weight", embedding.weight.data()), e.input(node, 0)},
           {{"axis", int64_t{0}}});
}

// For those who train on; nothing between integer layers may stand in their way.
void write_dropout(Exporter& e, const Node& node) {
  if (e.type_of(node).dtype == DType::uint8) return e.result_is(node, e.input(node, 0));
  const auto p = e.graph().layer(&node).attributes().get<double>("p");
  e.result(node, "Dropout", {e.input(node, 0), e.number(p)});
}

void write_input(Exporter& e, const Node& node) { e.result_is(node, e.input(node, 0)); }

}  // namespace

void add_layer_exports(ExportHandlers& handlers) {
  const ExportHandlers own{{"Conv1d", {write_conv1d_layer}},
                           {"Conv2d", {write_conv2d_layer}},
                           {"Conv2dReLU", {write_conv2d_layer}},
                           {"ConvTranspose2d", {write_conv_transpose2d_layer}},
                           {"Dropout", {write_dropout}},
                           {"Embedding", {write_embedding_layer}},
                           {"Linear", {write_linear}},
                           {"LinearReLU", {write_linear}},
                           {kObserver, {write_input}},
                           {"conv2d", {write_conv2d_op}},
                           {"conv_transpose2d", {write_conv2d_op}},
                           {"linear", {write_linear_op}},
                           {"matmul", {write_matmul}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
