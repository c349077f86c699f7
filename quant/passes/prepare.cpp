#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <thimble/nn/layers/conv.h>
#include <thimble/quant/passes/integer_tables.h>
#include <thimble/quant/passes/layer_by_layer.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/prepare.h>
#include <thimble/quant/passes/softmax_inputs.h>
#include <thimble/quant/passes/value_functions.h>
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

// Whether integers as `finer` says can be rounded to those of `coarser`: nothing that these need was cut off.
bool can_make(const QConfig& finer, const QConfig& coarser) {
  QuantizationSpec wanted = coarser.activation;
  wanted.bits = std::max(wanted.bits, finer.activation.bits);
  const bool cuts_alike = finer.observer == coarser.observer && finer.percentile == coarser.percentile;
  return finer.activation == wanted && (finer.observer == "minmax" || cuts_alike);
}

bool ask_for_the_same(const QConfig& a, const QConfig& b) { return can_make(a, b) && can_make(b, a); }

bool stays_float_in_training(const Graph& graph, const Node* node) {
  return graph.is_op(node, "sub") || graph.is_op(node, "maximum") || graph.is_op(node, "minimum");
}

// Puts observers where integer layers will need parameters.
class Preparer {
 public:
  Preparer(const Graph& graph, const QConfigMapping& mapping, const ObserverFactory& make_observer, bool for_training)
      : graph_(without_observers(graph)),
        mapping_(mapping),
        make_observer_(make_observer),
        for_training_(for_training) {
    for (Node* node : graph_.nodes())
      if (is_marked(node) || is_marked_table(node)) unmark(node);  // of an earlier mapping
    if (!for_training_)
      add_subtracted_constants(graph_,
                               [&](const Node* node) { return mapping_.find(node->name, {"sub"}).has_value(); });
    functions_ = ValueFunctions(graph_);
  }

  Graph run() {
    find_values_for_products();
    for (Node* node : graph_.nodes()) {
      mark_if_it_picks_integers(graph_, node);
      if (auto config = config_of(node)) choose(node, std::move(*config));
      if (is_table(graph_, node)) choose_table(node);
    }
    for (Node* node : graph_.nodes())
      if (configs_.contains(node)) find_readings(node);
    for (Node* value : graph_.nodes())
      if (const auto it = readings_.find(value); it != readings_.end()) observe(value, it->second);
    graph_.verify();
    return std::move(graph_);
  }

 private:
  struct Reading {
    Node* reader;
    size_t input;  // of the reader
  };

  // An op inside of a function is what that becomes.
  bool may_follow(const Node* node) const {
    if (functions_.around(node)) return functions_.of(node) != nullptr;
    return follows_inputs(graph_, node) && !(for_training_ && stays_float_in_training(graph_, node));
  }

  // The values that a node reads as integers, if it becomes an integer one.
  std::vector<Node*> inputs_of(const Node* node) const {
    if (const ValueFunction* function = functions_.of(node)) return {function->source()};
    if (const auto masking = masking_of(graph_, node)) return {node->inputs[masking->scores]};
    const auto values = values_of(graph_, node);
    return {values.begin(), values.end()};
  }

  // Of a node that becomes an integer one.
  std::optional<QConfig> config_of(const Node* node) const {
    // The others are worth it where values are integers already, and shall be afterwards.
    const bool may = may_follow(node) && for_products_.contains(node) && come_from_marked(graph_, inputs_of(node));
    if (!may && !is_wanted_product(graph_, node, mapping_)) return std::nullopt;
    std::optional<QConfig> config = mapping_.find(node->name, types_of(graph_, node));
    // Groups are for linear layers: the elements of a convolution's channel have no order of their own.
    if (config && (graph_.layer_as<nn::Conv2d>(node) || is_recurrent(graph_, node))) config->weight.group_size = 0;
    return config;
  }

  void choose(Node* node, QConfig config) {
    check_config(node->name, config);
    if (can_have_integer_weights(graph_, node))
      mark(node, checked_weight_quantization(node, config));
    else if (functions_.of(node))
      mark_function(node);
    else
      mark(node);
    configs_.emplace(node, std::move(config));
  }

  // What a table gives is float, so there is nothing to observe.
  void choose_table(Node* node) {
    const auto config = mapping_.find(node->name, types_of(graph_, node));
    const auto& [first, wanted] = tables_.try_emplace(node->target, node, config.has_value()).first->second;
    const auto quantization = config ? std::optional(table_quantization(*config)) : std::nullopt;
    check<ValueError>(wanted == config.has_value() &&
                          (!wanted || first == node ||
                           quantization->to_attributes() == weight_quantization_of(first).to_attributes()),
                      "prepare: '", first->name, "' and '", node->name,
                      "' call the same layer, and their configurations differ");
    if (!quantization) return;
    nn::detail::named_in_errors(node->name, [&] { quantization->check(table_of(graph_, node).data()); });
    mark_table(node, *quantization);
  }

  // Throws what convert() would throw only after the calibration.
  WeightQuantization checked_weight_quantization(const Node* node, const QConfig& config) const {
    const WeightQuantization quantization{config.weight, config.weight_observer};
    nn::detail::named_in_errors(node->name, [&] {
      for (const Tensor& weight : all_weights_of(graph_, node)) quantization.check(weight.data());
    });
    return quantization;
  }

  // The values that a product reads, directly or through nodes that may be integer ones.
  void find_values_for_products() {
    const std::vector<Node*> nodes = graph_.nodes();
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
      const bool hands_on = effect_of(graph_, *node) != Effect::none || may_follow(*node);
      const std::vector<Node*> inputs = inputs_of(*node);
      if (is_wanted_product(graph_, *node, mapping_) || (hands_on && for_products_.contains(*node)))
        for_products_.insert(inputs.begin(), inputs.end());
    }
  }

  // Who reads which values with parameters of their own. A clamp keeps its input's, and a concatenation shares its
  // results' where it can: what is read behind them counts.
  void find_readings(Node* reader) {
    if (is_clamp(graph_, reader)) return;
    const std::vector<Node*> inputs = inputs_of(reader);
    const auto masking = masking_of(graph_, reader);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (is_concat(graph_, reader) && can_share(graph_, inputs[i])) continue;
      Node* value = inputs[i];
      while (!has_own_parameters(graph_, value)) value = value->inputs[0];
      readings_[value].push_back({reader, masking ? masking->scores : i});
    }
  }

  // One observer for all who ask for the same, behind the value; others, for who asks for integers that can be made of
  // those, right where they are read.
  void observe(Node* value, const std::vector<Reading>& readings) {
    const QConfig& finest = finest_of(readings);
    if (const Node* softmax = only_softmax_behind(graph_, value)) value = add_softmax_range(value, softmax);
    graph_.replace_uses(value, add_observer(value, finest));
    std::vector<std::pair<Node*, const QConfig*>> others;  // observers
    for (const auto& [reader, index] : readings) {
      const QConfig& config = configs_.at(reader);
      // A concatenation's result has other parameters anyway, and a table is one of any integers.
      if (ask_for_the_same(finest, config) || is_concat(graph_, reader) || functions_.of(reader)) continue;
      Node* input = reader->inputs[index];
      auto it = std::ranges::find_if(others, [&](const auto& other) {
        return other.first->inputs[0] == input && ask_for_the_same(*other.second, config);
      });
      if (it == others.end()) it = others.insert(it, {add_observer(input, config), &config});
      graph_.set_input(reader, index, it->first);
    }
  }

  // A table is one of any integers: where others read the value, too, it takes theirs.
  const QConfig& finest_of(std::vector<Reading> readings) const {
    const auto is_function = [&](const Reading& reading) { return functions_.of(reading.reader) != nullptr; };
    if (!std::ranges::all_of(readings, is_function)) std::erase_if(readings, is_function);
    const Node* finest = readings[0].reader;
    for (const Reading& other : readings)
      if (!can_make(configs_.at(finest), configs_.at(other.reader))) finest = other.reader;
    for (const Reading& other : readings)
      check<ValueError>(can_make(configs_.at(finest), configs_.at(other.reader)), "prepare: '", finest->name, "' and '",
                        other.reader->name, "' read the same value, and neither's integers can be made of the other's",
                        "; by set_name() give one of them the observer and scheme of the other");
    return configs_.at(finest);
  }

  Node* add_softmax_range(Node* value, const Node* softmax) {
    const auto layer = std::make_shared<SoftmaxRange>(softmax->attributes.get<int64_t>("axis", -1));
    Node* node = graph_.add_layer(value->name + ".needed", layer, {value}, value);
    graph_.replace_uses(value, node);
    return node;
  }

  Node* add_observer(Node* value, const QConfig& config) {
    const bool is_handed_on = observer_of(graph_, value) || graph_.is_layer(value, "SoftmaxRange");
    const Node* watched = is_handed_on ? value->inputs[0] : value;
    return graph_.add_layer(watched->name + ".observer", make_observer_(config), {value}, value);
  }

  Graph graph_;
  ValueFunctions functions_;
  const QConfigMapping& mapping_;
  const ObserverFactory& make_observer_;
  const bool for_training_;
  std::unordered_set<const Node*> for_products_;
  std::unordered_map<const Node*, QConfig> configs_;  // of nodes that become integer ones
  std::unordered_map<const Node*, std::vector<Reading>> readings_;
  std::map<std::string, std::pair<const Node*, bool>> tables_;  // by layer: its first call, whether it is marked
};

Graph prepared_graph(const Graph& graph, const QConfigMapping& mapping, const ObserverFactory& make,
                     bool for_training) {
  check_names("prepare", graph, mapping);
  check_has_no_qat_layers("prepare", graph);
  check<ValueError>(wants_integers(graph, mapping), "prepare: ", nothing_to_quantize(graph, mapping));
  return Preparer(graph, mapping, make, for_training).run();
}

}  // namespace

nn::Graph prepare(const nn::Graph& graph, const QConfigMapping& mapping) {
  return prepare(graph, mapping, [](const QConfig& config) {
    return make_observer(config.observer, config.activation, {.percentile = config.percentile});
  });
}

nn::Graph prepare(const nn::Graph& graph, const QConfigMapping& mapping, const ObserverFactory& make) {
  return prepared_graph(graph, mapping, make, /*for_training=*/false);
}

nn::Graph prepare_for_training(const nn::Graph& graph, const QConfigMapping& mapping, const ObserverFactory& make) {
  return prepared_graph(graph, mapping, make, /*for_training=*/true);
}

}  // namespace thimble::quant
