#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <thimble/nn/layers/conv.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

// Integer layers take activations per tensor, and weights whose zero point is 0.
void check_config(const std::string& layer, const QConfig& config) {
  const QuantizationSpec &a = config.activation, &w = config.weight;
  const std::string whose = str("prepare: the configuration of '", layer, "'");
  check_bits(w.bits, str(whose, ": weights"));
  check_bits(a.bits, str(whose, ": activations"));
  check<ValueError>(!a.axis, whose, " asks for activations that are not per tensor");
  check<ValueError>(
      w.is_signed && w.scheme == QScheme::symmetric && (!w.axis || w.axis == 0), whose,
      " asks for weights that are not signed and symmetric, per tensor, output channel (axis 0) or group");
}

// Puts observers where integer layers will need parameters.
class Preparer {
 public:
  Preparer(const Graph& graph, const QConfigMapping& mapping, const ObserverFactory& make_observer)
      : graph_(graph.clone()), mapping_(mapping), make_observer_(make_observer) {
    graph_.eval();
    for (Node* node : graph_.nodes())
      if (is_marked(node)) node->attributes = without_marks(node->attributes);  // of an earlier mapping
  }

  Graph run() {
    find_values_for_products();
    for (Node* node : graph_.nodes()) {
      const auto config = config_of(node);
      if (!config) continue;
      check_config(node->name, *config);
      if (is_product(graph_, node))
        mark(node, checked_weight_quantization(node, *config));
      else
        mark(node);
      for (Node* input : std::vector<Node*>(node->inputs))
        if (needs_parameters_of(node, input)) observe(source_of(input), node, *config);
      if (gets_parameters(node)) observe(node, node, *config);
      marked_.insert(node);
    }
    graph_.verify();
    return std::move(graph_);
  }

 private:
  // Throws what convert() would throw only after the calibration.
  WeightQuantization checked_weight_quantization(const Node* node, const QConfig& config) const {
    const WeightQuantization quantization{config.weight, config.weight_observer};
    nn::detail::named_in_errors(node->name, [&] { quantization.check(weight_of(graph_, node).data()); });
    return quantization;
  }

  // Of a node that becomes an integer one.
  std::optional<QConfig> config_of(const Node* node) {
    const bool product = is_product(graph_, node) && graph_.calls_of_layer(node) == 1;
    // The others are worth it where values are integers already, and shall be afterwards.
    const bool follows = follows_inputs(graph_, node) && for_products_.contains(node) && reads_integers(node);
    if (!product && !follows) return std::nullopt;
    std::optional<QConfig> config = mapping_.find(node->name, types_of(graph_, node));
    // Groups are for linear layers: the elements of a convolution's channel have no order of their own.
    if (config && graph_.layer_as<nn::Conv2d>(node)) config->weight.group_size = 0;
    return config;
  }

  bool is_wanted_product(const Node* node) const {
    return is_product(graph_, node) && graph_.calls_of_layer(node) == 1 &&
           mapping_.find(node->name, types_of(graph_, node)).has_value();
  }

  // The values that a product reads, directly or through nodes that may be integer ones.
  void find_values_for_products() {
    const std::vector<Node*> nodes = graph_.nodes();
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
      const bool hands_on = passes_integers_on(graph_, *node) || follows_inputs(graph_, *node);
      if (is_wanted_product(*node) || (hands_on && for_products_.contains(*node)))
        for_products_.insert((*node)->inputs.begin(), (*node)->inputs.end());
    }
  }

  // The value that has parameters of its own, behind ops that pass them on.
  Node* source_of(Node* node) const {
    while (passes_integers_on(graph_, node)) node = node->inputs[0];
    return node;
  }

  bool reads_integers(const Node* node) const {
    return std::ranges::all_of(node->inputs, [&](Node* input) {
      const Node* source = source_of(input);
      return marked_.contains(observer_of(graph_, source) ? source->inputs[0] : source);
    });
  }

  // Whether an input must have parameters of its own. A concatenation shares its own where that is possible.
  bool needs_parameters_of(const Node* node, const Node* input) const {
    return !is_clamp(graph_, node) && !(is_concat(graph_, node) && can_share(graph_, input, true));
  }

  // Whether the parameters of a node's result are observed behind it. A clamp that is not the only reader of its input
  // keeps that one's.
  bool gets_parameters(const Node* node) const {
    if (is_clamp(graph_, node)) return can_share(graph_, node->inputs[0], false);
    return is_add(graph_, node) || is_concat(graph_, node);
  }

  void observe(Node* value, const Node* reader, const QConfig& config) {
    if (const auto it = chosen_.find(value); it != chosen_.end()) {
      const auto& [first, other] = it->second;
      check<ValueError>(other.activation == config.activation && other.observer == config.observer &&
                            other.percentile == config.percentile,
                        "prepare: '", first->name, "' and '", reader->name,
                        "' read the same value, and their configurations ask for different activations");
      return;
    }
    if (observer_of(graph_, value)) return;
    Node* observer = graph_.add_layer(value->name + ".observer", make_observer_(config), {value}, value);
    graph_.replace_uses(value, observer);
    chosen_.emplace(observer, std::pair(reader, config));
  }

  Graph graph_;
  const QConfigMapping& mapping_;
  const ObserverFactory& make_observer_;
  std::unordered_set<const Node*> for_products_, marked_;
  std::unordered_map<const Node*, std::pair<const Node*, QConfig>> chosen_;  // observer -> who asked for it, and how
};

}  // namespace

nn::Graph prepare(const nn::Graph& graph, const QConfigMapping& mapping) {
  return prepare(graph, mapping, [](const QConfig& config) {
    return make_observer(config.observer, config.activation, {.percentile = config.percentile});
  });
}

nn::Graph prepare(const nn::Graph& graph, const QConfigMapping& mapping, const ObserverFactory& make) {
  check_names("prepare", graph, mapping);
  return Preparer(graph, mapping, make).run();
}

}  // namespace thimble::quant
