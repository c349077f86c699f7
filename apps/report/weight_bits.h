// How wide a layer's integer weights are.
#pragma once

#include <nlohmann/json.hpp>

#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/weight_only_linear.h>

namespace thimble::apps {

/// Null for nodes without integer weights.
inline nlohmann::json weight_bits_of(const nn::Graph& graph, const nn::Node* node) {
  if (node->kind != nn::Node::Kind::layer) return {};
  const Attributes attributes = graph.layer(node).attributes();
  const char* key = graph.layer_as<quant::WeightOnlyLinear>(node) ? "bits" : "weight_bits";
  return attributes.contains(key) ? nlohmann::json(attributes.get<int64_t>(key)) : nlohmann::json();
}

}  // namespace thimble::apps
