// The integer layers that float ops and layers without products of weights become. Internal to quant, and to what
// imports integers.
//
// Each reads values that are integers and gives one with parameters of its own. A new one is an entry of the list in
// integer_forms.cpp; prepare() and convert() need no change.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// What a float op or layer becomes.
struct IntegerForm {
  std::string_view type;  ///< an op's name, or a layer's type
  size_t inputs;          ///< how many there must be
  /// The layer for inputs and a result of these parameters.
  std::shared_ptr<nn::Module> (*layer)(const nn::Graph& graph, const nn::Node* node,
                                       std::span<const TensorQParams> inputs, const TensorQParams& output);
  /// Whether the layer can be made for this node; null: for all.
  bool (*can_be)(const nn::Graph& graph, const nn::Node* node) = nullptr;
};

/// Null if the node's op or layer has none.
THIMBLE_API const IntegerForm* integer_form_of(const nn::Graph& graph, const nn::Node* node);

}  // namespace thimble::quant
