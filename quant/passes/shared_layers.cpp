#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_set>

#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/shared_layers.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

// The node of another layer in the place of this one, under its name.
Node* with_layer(Graph& graph, Node* node, std::shared_ptr<nn::Module> layer) {
  const std::string name = node->name;
  std::string aside = name + ".shared";
  while (graph.find(aside)) aside += '_';
  graph.rename(node, aside);
  Node* own = graph.add_layer(name, std::move(layer), node->inputs, node);
  own->attributes = node->attributes;
  graph.replace_uses(node, own);
  graph.erase(node);
  return own;
}

bool are_equal(const NDArray& a, const NDArray& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && a.is_contiguous() && b.is_contiguous() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.nbytes())) == 0;
}

}  // namespace

std::vector<Node*> separate_calls(Graph& graph, const std::vector<Node*>& nodes) {
  std::vector<Node*> separated;
  for (Node* node : nodes) {
    const bool keeps = graph.calls_of_layer(node) == 1 || node->name == node->target;
    separated.push_back(keeps ? node : with_layer(graph, node, nn::copy_layer(graph.layer(node))));
  }
  for (Node*& node : separated)
    if (graph.calls_of_layer(node) > 1) node = with_layer(graph, node, nn::copy_layer(graph.layer(node)));
  return separated;
}

QParams CommonWeights::qparams(const WeightQuantization& quantization, const NDArray& origin) {
  const auto [known, is_new] = qparams_.try_emplace({origin.address(), str(quantization.to_attributes())});
  if (is_new) known->second = {origin, quantization.qparams(origin)};
  return known->second.second;
}

void CommonWeights::share(const NDArray& origin, const nn::Module& layer) {
  const auto* product = dynamic_cast<const IntegerProduct*>(&layer);
  if (!product) return;
  std::vector<Tensor> tensors{product->weights().values(), product->weights().scale()};
  const auto [first, last] = made_.equal_range(origin.address());
  for (auto it = first; it != last; ++it) {
    const std::vector<Tensor>& others = it->second.tensors;
    if (!are_equal(tensors[0].data(), others[0].data())) continue;
    for (size_t i = 0; i < tensors.size(); ++i)
      if (are_equal(tensors[i].data(), others[i].data())) tensors[i].set_data(others[i].data().lazy_clone());
    return;
  }
  made_.emplace(origin.address(), Made{origin, std::move(tensors)});
}

std::vector<std::vector<Node*>> by_weight(const Graph& graph, const std::vector<Node*>& products) {
  std::vector<std::vector<Node*>> groups;
  std::map<std::pair<const void*, std::string>, size_t> index_of;
  for (Node* product : products) {
    const std::pair key(weight_of(graph, product).data().address(),
                        str(weight_quantization_of(product).to_attributes()));
    const auto [known, is_new] = index_of.try_emplace(key, groups.size());
    if (is_new) groups.emplace_back();
    groups[known->second].push_back(product);
  }
  return groups;
}

void check_calls_agree(const char* pass, const Graph& graph) {
  std::unordered_map<std::string, const Node*> first_of;
  for (const Node* node : graph.nodes()) {
    if (!can_have_integer_weights(graph, node) || graph.calls_of_layer(node) == 1) continue;
    const Node* first = first_of.try_emplace(node->target, node).first->second;
    const bool agree = is_marked(node) == is_marked(first) &&
                       (!is_marked(node) ||
                        weight_quantization_of(node).to_attributes() == weight_quantization_of(first).to_attributes());
    check<ValueError>(agree, pass, ": '", first->name, "' and '", node->name,
                      "' call the same layer, and their configurations differ");
  }
}

}  // namespace thimble::quant
