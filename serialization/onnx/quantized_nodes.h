// What nodes are that quantize, dequantize, or stand between. Internal.
#pragma once

#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>

#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::onnx {

/// Integers of activations.
struct QuantizedType {
  int bits = 0;  ///< 0: no such
  bool is_signed = false;
};

/// By the name that quantize_linear knows it by.
QuantizedType quantized_type_of(std::string_view name);

/// Questions about a graph's nodes.
class QuantizedNodes {
 public:
  explicit QuantizedNodes(const nn::Graph& graph) : graph_(graph) {}

  /// A tensor's array; undefined for other values.
  NDArray known(const nn::Node* node) const;
  bool is_quantize(const nn::Node* node) const { return graph_.is_op(node, "quantize_linear"); }
  bool is_dequantize(const nn::Node* node) const { return graph_.is_op(node, "dequantize_linear"); }

  /// Of the integers that a node gives which quantizes.
  QuantizedType quantized_type(const nn::Node* node) const;
  /// Of those that a node takes which dequantizes, if its zero point is known.
  QuantizedType zero_point_type(const nn::Node* node) const;
  /// Scale and zero point of a node that quantizes or dequantizes a tensor as a whole, if they are known and sound;
  /// for the integers of so many bits that it gives or takes, plus `shift`.
  std::optional<quant::TensorQParams> parameters_of(const nn::Node* node, int bits, int32_t shift) const;
  /// The same of a node that quantizes, for unsigned integers in place of signed ones.
  std::optional<quant::TensorQParams> quantizer(const nn::Node* node) const;

  /// Whether the node moves elements of its first input to where they are, or picks some, so that it can do so with
  /// integers.
  bool moves(const nn::Node* node) const;
  /// Whether it surrounds its input by a number, "value".
  bool pads(const nn::Node* node) const;
  /// What a clamp, or a maximum or minimum with a known number, input `other`, keeps values within.
  std::optional<std::pair<double, double>> bounds_of(const nn::Node* node, size_t other) const;
  /// What all who read the value quantize it to, behind what moves or clamps it: these can work on the integers as
  /// well.
  std::optional<quant::TensorQParams> wanted_parameters(const nn::Node* value, int depth = 0) const;
  /// Whether the value is float32, for certain. `other_inputs` are those of the graph that are not.
  bool gives_float32(const nn::Node* value, const std::unordered_set<const nn::Node*>& other_inputs) const;
  /// Whether the value is what an integer layer gives, which is uint8.
  bool gives_uint8(const nn::Node* value) const;

 private:
  bool clamps(const nn::Node* node) const;
  bool pads_exactly(const nn::Node* node) const;

  const nn::Graph& graph_;
};

}  // namespace thimble::onnx
