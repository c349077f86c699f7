#include <map>
#include <string>
#include <utility>
#include <vector>

#include <thimble/nn/graph/owns_graphs.h>
#include <thimble/serialization/onnx/equal_layers.h>

namespace thimble::onnx {

namespace {

using nn::Graph;
using nn::Node;

// Type and configuration as text, and for each tensor where it lies and how. Counters, which each layer has, by value.
using LayerKey = std::pair<std::string, std::vector<std::pair<const void*, std::string>>>;

LayerKey key_of(const nn::Module& layer) {
  LayerKey key{str(layer.type(), ' ', layer.training(), ' ', layer.attributes()), {}};
  const auto add = [&](const std::string& name, const Tensor& tensor, bool by_value) {
    const NDArray& array = tensor.data();
    const std::string what = str(name, describe(array), array.strides(), tensor.requires_grad());
    if (by_value)
      key.second.emplace_back(nullptr, str(what, array));
    else
      key.second.emplace_back(array.address(), what);
  };
  for (const auto& [name, tensor] : layer.named_parameters()) add(name, tensor, false);
  for (const auto& [name, tensor] : layer.named_buffers()) add(name, tensor, tensor.numel() == 1);
  return key;
}

// A call of that layer in the place of this node, under its name.
void call_instead(Graph& graph, Node* node, const std::string& target) {
  const std::string name = node->name;
  std::string aside = name + ".equal";
  while (graph.find(aside)) aside += '_';
  graph.rename(node, aside);
  Node* call = graph.add_call(name, target, node->inputs, node);
  call->attributes = node->attributes;
  graph.replace_uses(node, call);
  graph.erase(node);
}

}  // namespace

void merge_equal_layers(Graph& graph) {
  std::map<LayerKey, std::string> first_of;
  for (Node* node : graph.nodes()) {
    if (node->kind != Node::Kind::layer || graph.calls_of_layer(node) > 1) continue;
    const nn::Module& layer = graph.layer(node);
    if (layer.named_parameters().empty() || dynamic_cast<const nn::OwnsGraphs*>(&layer)) continue;
    const auto [first, is_new] = first_of.try_emplace(key_of(layer), node->target);
    if (!is_new) call_instead(graph, node, first->second);
  }
}

}  // namespace thimble::onnx
