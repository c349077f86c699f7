// Float convolutions and matrix products, and layers that hand their input on.
#include <algorithm>

#include <thimble/core/ops/conv.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/dropout.h>
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

// Of any number of dimensions but one, without a relu.
void write_conv_layer(Exporter& e, const Node& node, const char* op) {
  const nn::Module& layer = e.graph().layer(&node);
  const Attributes a = layer.attributes();
  std::vector<std::string> inputs{e.input(node, 0), e.tensor(node, "weight", state_array(layer, "weight"))};
  if (a.get<bool>("bias")) inputs.push_back(e.tensor(node, "bias", state_array(layer, "bias")));
  e.result(node, op, inputs, conv_attributes_from(a, a.get<std::vector<int64_t>>("kernel_size")));
}

void write_conv3d_layer(Exporter& e, const Node& node) { write_conv_layer(e, node, "Conv"); }
void write_conv_transpose_layer(Exporter& e, const Node& node) { write_conv_layer(e, node, "ConvTranspose"); }

// Ops, whose weights are values of other nodes.

std::vector<int64_t> kernel_of(const Exporter& e, const Node& node) {
  const std::vector<int64_t>& weight = e.input_type(node, 1).sizes;
  const bool is_known =
      weight.size() > 2 && std::all_of(weight.begin() + 2, weight.end(), [](int64_t size) { return size > 0; });
  Exporter::require(is_known, "its kernel is of a free size");
  return {weight.begin() + 2, weight.end()};
}

void write_conv_op(Exporter& e, const Node& node) {
  const char* op = node.target.starts_with("conv_transpose") ? "ConvTranspose" : "Conv";
  e.result(node, op, e.operands(node), conv_attributes_from(node.attributes, kernel_of(e, node)));
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
                           {"Conv3d", {write_conv3d_layer}},
                           {"ConvTranspose2d", {write_conv_transpose_layer}},
                           {"ConvTranspose3d", {write_conv_transpose_layer}},
                           {"Dropout", {write_dropout}},
                           {"Linear", {write_linear}},
                           {"LinearReLU", {write_linear}},
                           {kObserver, {write_input}},
                           {"conv2d", {write_conv_op}},
                           {"conv3d", {write_conv_op}},
                           {"conv_transpose2d", {write_conv_op}},
                           {"conv_transpose3d", {write_conv_op}},
                           {"linear", {write_linear_op}},
                           {"matmul", {write_matmul}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
