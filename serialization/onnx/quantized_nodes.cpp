#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/serialization/onnx/quantized_nodes.h>

namespace thimble::onnx {

using nn::Node;
using quant::TensorQParams;

namespace {

constexpr std::string_view kMoving[] = {
    "broadcast_to", "chunk",       "diagonal",      "flatten",           "gather",           "gather_nd",
    "index_select", "interpolate", "max_pool2d",    "max_pool3d",        "permute",          "reshape",
    "slice",        "squeeze",     "pixel_shuffle", "pixel_unshuffle",   "reverse_sequence", "take",
    "tile",         "transpose",   "unsqueeze",     "upsample_nearest2d"};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr int kLongestChain = 64;  // of nodes that hand a value on

}  // namespace

QuantizedType quantized_type_of(std::string_view name) {
  if (name == "uint8" || name == "int8") return {8, name == "int8"};
  if (name == "uint4" || name == "int4") return {4, name == "int4"};
  if (name == "uint2" || name == "int2") return {2, name == "int2"};
  return {};
}

NDArray QuantizedNodes::known(const Node* node) const {
  return node->kind == Node::Kind::tensor ? graph_.tensor(node).data() : NDArray();
}

QuantizedType QuantizedNodes::quantized_type(const Node* node) const {
  const auto name = node->attributes.get<std::string>("type", "");
  if (!name.empty()) return quantized_type_of(name);
  return node->inputs.size() > 2 ? zero_point_type(node) : QuantizedType{8, false};
}

QuantizedType QuantizedNodes::zero_point_type(const Node* node) const {
  const NDArray zero_point = node->inputs.size() > 2 ? known(node->inputs[2]) : NDArray();
  return zero_point.defined() ? quantized_type_of(thimble::name(zero_point.dtype())) : QuantizedType{};
}

std::optional<TensorQParams> QuantizedNodes::parameters_of(const Node* node, int bits, int32_t shift) const {
  if (node->attributes.get<int64_t>("block_size", int64_t{0}) != 0) return std::nullopt;
  const NDArray scale = known(node->inputs[1]);
  if (!scale.defined() || scale.numel() != 1 || scale.dtype() != DType::float32) return std::nullopt;
  TensorQParams p{scale.item<float>(), shift, bits};
  if (node->inputs.size() > 2) {
    const NDArray zero_point = known(node->inputs[2]);
    if (!zero_point.defined() || zero_point.numel() != 1) return std::nullopt;
    p.zero_point += zero_point.item<int32_t>();
  }
  const bool is_sound = std::isnormal(p.scale) && p.scale > 0 && p.zero_point >= 0 && p.zero_point <= p.qmax();
  return is_sound ? std::optional(p) : std::nullopt;
}

std::optional<TensorQParams> QuantizedNodes::quantizer(const Node* node) const {
  const QuantizedType type = quantized_type(node);
  if (type.bits == 0) return std::nullopt;
  return parameters_of(node, type.bits, type.is_signed ? 1 << (type.bits - 1) : 0);
}

bool QuantizedNodes::moves(const Node* node) const {
  if (node->kind == Node::Kind::layer) return graph_.is_layer(node, "Dropout");
  if (pads(node)) return pads_exactly(node);
  if (graph_.is_op(node, "pad")) return node->inputs.size() == 1;  // by its own elements
  if (graph_.is_op(node, "interpolate")) return node->attributes.get<std::string>("mode", "") == "nearest";
  return node->kind == Node::Kind::op && std::ranges::find(kMoving, node->target) != std::end(kMoving);
}

bool QuantizedNodes::pads(const Node* node) const {
  if (graph_.is_op(node, "pad")) return node->attributes.get<std::string>("mode", "constant") == "constant";
  return graph_.is_op(node, "pad_same2d") || graph_.is_op(node, "pad_same3d");
}

// Padding of 0 is an integer, and the least one is as good as minus infinity to who looks for the largest.
bool QuantizedNodes::pads_exactly(const Node* node) const {
  const Attributes& a = node->attributes;
  if (node->inputs.size() > 1) return false;  // the value, or amounts
  const auto value = a.get<double>("value", 0.0);
  const auto pools = [&](const Node* user) {
    return graph_.is_op(user, "max_pool2d") || graph_.is_op(user, "max_pool3d");
  };
  return value == 0 ||
         (value == -kInfinity && !graph_.is_output(node) && std::ranges::all_of(graph_.users(node), pools));
}

bool QuantizedNodes::clamps(const Node* node) const {
  return graph_.is_op(node, "relu") || graph_.is_op(node, "relu6") || bounds_of(node, 1);
}

std::optional<std::pair<double, double>> QuantizedNodes::bounds_of(const Node* node, size_t other) const {
  if (graph_.is_op(node, "clamp"))
    return std::pair(node->attributes.get<double>("min", -kInfinity), node->attributes.get<double>("max", kInfinity));
  const bool is_maximum = graph_.is_op(node, "maximum");
  if ((!is_maximum && !graph_.is_op(node, "minimum")) || node->inputs.size() != 2) return std::nullopt;
  const NDArray number = known(node->inputs[other]);
  if (!number.defined() || number.numel() != 1) return std::nullopt;
  const auto bound = number.item<double>();
  return is_maximum ? std::pair(bound, kInfinity) : std::pair(-kInfinity, bound);
}

// Ops give what their first operand is of, but for these.
bool QuantizedNodes::gives_float32(const Node* value, const std::unordered_set<const Node*>& other_inputs) const {
  constexpr std::string_view kGiveIntegers[] = {"argmax", "argmin",   "max_pool2d_indices", "nonzero",     "one_hot",
                                                "shape",  "eye_like", "quantize_linear",    "topk_indices"};
  for (; value->kind == Node::Kind::op; value = value->inputs[graph_.is_op(value, "where") ? 1 : 0]) {
    const std::string& op = value->target;
    if (op == "dequantize_linear") return true;
    if (op == "cast") return value->attributes.get<std::string>("dtype", "") == "float32";
    if (op == "type_as" || op == "embedding" || std::ranges::count(kGiveIntegers, op) > 0) return false;
  }
  if (value->kind == Node::Kind::tensor) return known(value).dtype() == DType::float32;
  return value->kind == Node::Kind::layer ? !graph_.is_layer(value, "Conditional") : !other_inputs.contains(value);
}

bool QuantizedNodes::gives_uint8(const Node* value) const {
  while (value->kind == Node::Kind::op && std::ranges::find(kMoving, value->target) != std::end(kMoving))
    value = value->inputs[0];
  const auto* product = graph_.layer_as<quant::IntegerProduct>(value);
  if (product) return product->quantization().output.has_value();
  return graph_.layer_as<quant::IntegerLayer>(value) && !graph_.is_layer(value, "Dequantize") &&
         !graph_.layer(value).type().starts_with("Dynamic") && !graph_.is_layer(value, "WeightOnlyLinear");
}

std::optional<TensorQParams> QuantizedNodes::wanted_parameters(const Node* value, int depth) const {
  if (depth > kLongestChain || graph_.is_output(value)) return std::nullopt;
  std::optional<TensorQParams> found;
  for (const Node* user : graph_.users(value)) {
    if (graph_.is_op(user, "shape")) continue;
    if (std::ranges::count(user->inputs, value) != 1 || user->inputs[0] != value) return std::nullopt;
    const bool hands_on = moves(user) || clamps(user);
    const auto wanted = is_quantize(user) ? quantizer(user)
                        : hands_on        ? wanted_parameters(user, depth + 1)
                                          : std::nullopt;
    if (!wanted || (found && !(*found == *wanted))) return std::nullopt;
    found = wanted;
  }
  return found;
}

}  // namespace thimble::onnx
