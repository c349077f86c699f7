// Normalizations.
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_products.h>
#include <thimble/serialization/onnx/export_quantization.h>

namespace thimble::onnx {

namespace {

using nn::Node;

NDArray filled_with(double value, const Shape& shape, DType dtype) { return NDArray::full(shape, value, dtype); }

void write_batch_norm_layer(Exporter& e, const Node& node) {
  const auto& bn = *e.graph().layer_as<nn::BatchNorm>(&node);
  const DType dtype = bn.running_mean.dtype();
  const Shape& shape = bn.running_mean.shape();
  const bool affine = bn.weight.defined();
  e.result(
      node, "BatchNormalization",
      {e.input(node, 0), e.tensor(node, "weight", affine ? bn.weight.data() : filled_with(1, shape, dtype)),
       e.tensor(node, "bias", affine ? bn.bias.data() : filled_with(0, shape, dtype)),
       e.tensor(node, "running_mean", bn.running_mean.data()), e.tensor(node, "running_var", bn.running_var.data())},
      {{"epsilon", bn.eps()}, {"momentum", 1 - bn.momentum().value_or(0.1)}});
}

// x, mean, variance and, perhaps, weight and bias.
void write_batch_norm_op(Exporter& e, const Node& node) {
  const std::vector<std::string> in = e.operands(node);
  const int64_t channels = e.input_type(node, 1).sizes.at(0);
  const DType dtype = e.input_type(node, 1).dtype;
  const bool affine = in.size() > 3;
  Exporter::require(affine || channels >= 0, "its number of channels is free");
  e.result(node, "BatchNormalization",
           {in[0], affine ? in[3] : e.tensor(node, "weight", filled_with(1, {channels}, dtype)),
            affine ? in[4] : e.tensor(node, "bias", filled_with(0, {channels}, dtype)), in[1], in[2]},
           {{"epsilon", node.attributes.get<double>("eps")}});
}

void write_layer_norm(Exporter& e, const Node& node, const Shape& normalized, double eps, const Tensor& weight,
                      const Tensor& bias) {
  const DType dtype = e.type_of(node).dtype;
  std::vector<std::string> inputs{e.input(node, 0)};
  inputs.push_back(e.tensor(node, "weight", weight.defined() ? weight.data() : filled_with(1, normalized, dtype)));
  if (bias.defined()) inputs.push_back(e.tensor(node, "bias", bias.data()));
  e.result(node, "LayerNormalization", inputs, {{"axis", int64_t{-normalized.ndim()}}, {"epsilon", eps}});
}

void write_layer_norm_layer(Exporter& e, const Node& node) {
  const auto& norm = *e.graph().layer_as<nn::LayerNorm>(&node);
  const Attributes a = norm.attributes();
  write_layer_norm(e, node, Shape(a.get<std::vector<int64_t>>("normalized_shape")), a.get<double>("eps"), norm.weight,
                   norm.bias);
}

void write_layer_norm_op(Exporter& e, const Node& node) {
  const std::vector<int64_t>& sizes = e.input_type(node, 0).sizes;
  const auto dims = node.attributes.get<int64_t>("dims");
  const std::vector<int64_t> last(sizes.end() - dims, sizes.end());
  for (const int64_t size : last) Exporter::require(size >= 0, "it is over a dimension of a free size");
  write_layer_norm(e, node, Shape(last), node.attributes.get<double>("eps"), {}, {});
}

// [channels] as [channels, 1, ...], for elements of that rank.
std::string per_channel(Exporter& e, const Node& node, const char* part, const NDArray& values, int rank) {
  Shape shape = Shape::filled(rank - 1, 1);
  shape[0] = values.numel();
  return e.tensor(node, part, values.reshape(shape));
}

// The node's normalization, of integers, too, which are dequantized.
struct GroupNormParts {
  int64_t groups;
  double eps;
  NDArray weight, bias;  // undefined if it is not affine
};

// A channel each is InstanceNormalization. Others are an op since opset 21; before it, as PyTorch writes it: each group
// is a channel of InstanceNormalization.
std::string group_normalized(Exporter& e, const Node& node, const std::string& x, DType dtype,
                             const GroupNormParts& norm) {
  const ValueType& type = e.input_type(node, 0);
  const int64_t channels = type.sizes.at(1);
  Exporter::require(channels >= 0, "its number of channels is free");
  const bool affine = norm.weight.defined(), is_instance = norm.groups == channels && type.rank() >= 3;
  const Attributes eps{{"epsilon", norm.eps}};
  if (is_instance || e.opset() >= 21) {
    const std::string weight = e.tensor(node, "weight", affine ? norm.weight : filled_with(1, {channels}, dtype)),
                      bias = e.tensor(node, "bias", affine ? norm.bias : filled_with(0, {channels}, dtype));
    if (is_instance) return e.step(node, "InstanceNormalization", {x, weight, bias}, eps);
    return e.step(node, "GroupNormalization", {x, weight, bias}, {{"num_groups", norm.groups}, {"epsilon", norm.eps}});
  }
  const std::string rows = e.step(node, "Reshape", {x, e.integers({0, norm.groups, -1})});
  const std::string normalized = e.step(node, "InstanceNormalization",
                                        {rows, e.tensor(node, "ones", filled_with(1, {norm.groups}, dtype)),
                                         e.tensor(node, "zeros", filled_with(0, {norm.groups}, dtype))},
                                        eps);
  const std::string image = e.step(node, "Reshape", {normalized, e.step(node, "Shape", {x})});
  if (!affine) return image;
  const std::string scaled = e.step(node, "Mul", {image, per_channel(e, node, "weight", norm.weight, type.rank())});
  return e.step(node, "Add", {scaled, per_channel(e, node, "bias", norm.bias, type.rank())});
}

void write_group_norm(Exporter& e, const Node& node, const GroupNormParts& norm) {
  e.result_is(node, group_normalized(e, node, e.input(node, 0), e.input_type(node, 0).dtype, norm));
}

NDArray array_or_none(const Tensor& tensor) { return tensor.defined() ? tensor.data() : NDArray(); }

void write_group_norm_layer(Exporter& e, const Node& node) {
  const auto& norm = *e.graph().layer_as<nn::GroupNorm>(&node);
  const Attributes a = norm.attributes();
  write_group_norm(
      e, node,
      {a.get<int64_t>("num_groups"), a.get<double>("eps"), array_or_none(norm.weight), array_or_none(norm.bias)});
}

void write_group_norm_op(Exporter& e, const Node& node) {
  write_group_norm(e, node, {node.attributes.get<int64_t>("groups"), node.attributes.get<double>("eps"), {}, {}});
}

void write_quantized_group_norm(Exporter& e, const Node& node) {
  const nn::Module& layer = e.graph().layer(&node);
  const Attributes a = layer.attributes();
  const bool affine = a.get<bool>("affine");
  const GroupNormParts norm{a.get<int64_t>("num_groups"), a.get<double>("eps"),
                            affine ? state_array(layer, "weight") : NDArray(),
                            affine ? state_array(layer, "bias") : NDArray()};
  const std::string x = dequantized(e, node, e.input(node, 0), qparams_in(e, node, "input_"));
  write_quantized(e, node, group_normalized(e, node, x, DType::float32, norm), qparams_in(e, node, "output_"));
}

}  // namespace

void add_norm_exports(ExportHandlers& handlers) {
  const ExportHandlers own{{"BatchNorm1d", {write_batch_norm_layer}},
                           {"BatchNorm2d", {write_batch_norm_layer}},
                           {"BatchNorm3d", {write_batch_norm_layer}},
                           {"GroupNorm", {write_group_norm_layer}},
                           {"LayerNorm", {write_layer_norm_layer}},
                           {"batch_norm", {write_batch_norm_op}},
                           {"group_norm", {write_group_norm_op}},
                           {"layer_norm", {write_layer_norm_op}},
                           {"QuantizedGroupNorm", {write_quantized_group_norm}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
