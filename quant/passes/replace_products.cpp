#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include <thimble/quant/passes/as_convolutions.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/integer_tables.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/replace_products.h>

namespace thimble::quant {

namespace {

// Whether a layer that stays float is worth a word.
bool has_weights(const nn::Graph& graph, const nn::Node* node) {
  return node->kind == nn::Node::Kind::layer && !graph.layer(node).parameters().empty();
}

// What a layer is trained with for quantization, and what was observed, would be lost without a word.
void check_is_float(const nn::Graph& graph, const char* pass) {
  check_has_no_qat_layers(pass, graph);
  for (const nn::Node* node : graph.nodes())
    check<ValueError>(!observer_of(graph, node), pass, ": '", node->name,
                      "' is an observer; give the float graph, before prepare() or prepare_qat()");
}

// A layer whose entry gives no reason to stay float is replaced.
void check_replaces_any(const ConversionReport& entries, const nn::Graph& graph, const QConfigMapping& mapping,
                        const ProductReplacement& r) {
  if (std::ranges::any_of(entries, [](const LayerReport& entry) { return entry.reason.empty(); })) return;
  for (const LayerReport& entry : entries) {
    const nn::Node* node = graph.find(entry.name);
    const std::string obstacle = can_have_integer_weights(graph, node) ? r.obstacle(graph.layer(node)) : "";
    check<ValueError>(obstacle.empty() || entry.reason != obstacle, r.pass, ": it would quantize no layer: '",
                      entry.name, "' stays float, since ", obstacle);
  }
  throw ValueError(str(r.pass, ": ", nothing_to_quantize(graph, mapping)));
}

// What a configuration says of the layer that replaces another.
bool make_the_same(const std::optional<QConfig>& a, const std::optional<QConfig>& b, bool keeps_activations) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->weight == b->weight && a->weight_observer == b->weight_observer &&
         (keeps_activations || (a->activation.bits == b->activation.bits && a->dynamic_range == b->dynamic_range));
}

// The configurations of calls of layers, of which each can become one only.
class LayerConfigs {
 public:
  explicit LayerConfigs(const ProductReplacement& replacement) : replacement_(replacement) {}

  /// Throws ValueError if another call of the same layer has another one.
  void add(const nn::Node* call, const std::optional<QConfig>& config) {
    const auto& [node, first] = first_calls_.try_emplace(call->target, call, config).first->second;
    check<ValueError>(make_the_same(first, config, replacement_.keeps_activations), replacement_.pass, ": '",
                      node->name, "' and '", call->name, "' call the same layer, and their configurations differ");
  }

 private:
  const ProductReplacement& replacement_;
  std::map<std::string, std::pair<const nn::Node*, std::optional<QConfig>>> first_calls_;  // by layer
};

bool is_embedding(const LayerReport& entry) { return entry.type == "Embedding" || entry.type == "EmbeddingBag"; }

// Tables that are the weights of products which stay float.
void keep_tables_of_floats(const nn::Graph& graph, const IntegerTables& tables, ConversionReport& entries) {
  const auto stays_float = [&](const std::string& product) {
    return std::ranges::any_of(
        entries, [&](const LayerReport& entry) { return entry.name == product && !entry.reason.empty(); });
  };
  for (LayerReport& entry : entries)
    if (entry.reason.empty() && is_embedding(entry))
      entry.reason = tables.obstacle_of(graph.find(entry.name), stays_float);
}

}  // namespace

nn::Graph replace_products(const nn::Graph& graph, const QConfigMapping& mapping, const ProductReplacement& replacement,
                           ConversionReport* report) {
  check_is_float(graph, replacement.pass);
  nn::Graph result =
      replacement.keeps_activations ? fuse_conv_bn_relu(graph) : as_convolutions(graph, /*with_norms=*/false);
  result.eval();
  check_names(replacement.pass, result, mapping);
  ConversionReport entries;
  std::vector<std::optional<QConfig>> configs;
  LayerConfigs layer_configs(replacement);
  IntegerTables tables(result);
  for (const nn::Node* node : result.nodes()) {
    if (!has_weights(result, node)) continue;
    configs.push_back(mapping.find(node->name, types_of(result, node)));
    entries.push_back({.name = node->name, .type = type_of(result, node), .reason = ""});
    const bool may = can_have_integer_weights(result, node) || is_table(result, node);
    std::string obstacle = can_have_integer_weights(result, node) ? replacement.obstacle(result.layer(node)) : "";
    if (!may) obstacle = "it has no integer form";
    if (obstacle.empty()) layer_configs.add(node, configs.back());
    entries.back().reason = may && !configs.back() ? "its configuration keeps it float" : obstacle;
  }
  keep_tables_of_floats(result, tables, entries);
  check_replaces_any(entries, result, mapping, replacement);
  for (size_t i = 0; i < entries.size(); ++i) {
    LayerReport& entry = entries[i];
    if (!entry.reason.empty()) continue;
    nn::Node* node = result.find(entry.name);
    if (can_have_integer_weights(result, node))  // else it shares its layer with a node that was replaced
      result.replace_layer(node, nn::detail::named_in_errors(
                                     entry.name, [&] { return replacement.make(result.layer(node), *configs[i]); }));
    entry.weight_bits = configs[i]->weight.bits;
    if (!replacement.keeps_activations && !is_embedding(entry)) entry.activation_bits = configs[i]->activation.bits;
    entry.kept_float = false;
  }
  for (size_t i = 0; i < entries.size(); ++i)
    if (!entries[i].kept_float && is_embedding(entries[i]))
      entries[i].reason = tables.replace(result.find(entries[i].name), result, table_quantization(*configs[i]));
  result.verify();
  if (report) *report = std::move(entries);
  return result;
}

}  // namespace thimble::quant
