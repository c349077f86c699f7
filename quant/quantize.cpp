#include <algorithm>
#include <unordered_map>
#include <utility>

#include <thimble/core/tensor.h>
#include <thimble/quant/fuse.h>
#include <thimble/quant/observer.h>
#include <thimble/quant/quantize.h>
#include <thimble/quant/quantized_linear.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

// Layers that have an integer form.
bool has_integer_form(const Graph& graph, const Node* node) {
  return graph.is_layer(node, "Linear") || graph.is_layer(node, "LinearReLU");
}

// Ops that only move elements: they work on integers as they do on floats, with their input's parameters.
bool passes_integers_on(const Graph& graph, const Node* node) {
  constexpr std::string_view kMoving[] = {"flatten",   "reshape", "squeeze", "unsqueeze",
                                          "transpose", "permute", "slice"};
  return std::ranges::any_of(kMoving, [&](std::string_view op) { return graph.is_op(node, op); });
}

// Layers that were converted before.
bool is_integer_layer(const Graph& graph, const Node* node) {
  constexpr std::string_view kTypes[] = {"QuantizedLinear", "Quantize", "Dequantize"};
  return std::ranges::any_of(kTypes, [&](std::string_view type) { return graph.is_layer(node, type); });
}

// What a fused layer was made of counts as its type, too: who keeps Linear float means Linear with ReLU as well.
std::vector<std::string> types_of(const std::string& type) {
  if (type == "LinearReLU") return {type, "Linear"};
  return {type};
}

// prepare() leaves on the node itself what convert() must know.
constexpr const char* kWeightBits = "weight_bits";

bool is_marked(const Graph& graph, const Node* node) {
  return has_integer_form(graph, node) && node->attributes.contains(kWeightBits);
}

// The value that has parameters of its own, behind ops that pass them on.
Node* source_of(const Graph& graph, Node* node) {
  while (passes_integers_on(graph, node)) node = node->inputs[0];
  return node;
}

Observer* observer_of(const Graph& graph, const Node* node) { return graph.layer_as<Observer>(node); }

class Converter {
 public:
  Converter(const Graph& prepared, ConversionReport* report) : graph_(prepared.clone()), report_(report) {}

  Graph run() {
    remove_observers();
    for (Node* node : graph_.nodes()) {
      if (is_marked(graph_, node))
        convert_layer(node);
      else if (can_pass_on(node))
        pass_on(node);
      else
        take_floats(node);
      if (report_) report(node);
    }
    if (integers_.contains(graph_.output())) graph_.set_output(float_of(graph_.output()));
    graph_.eliminate_dead_nodes();
    graph_.verify();
    return std::move(graph_);
  }

 private:
  // Keeps what they saw by the value they watched.
  void remove_observers() {
    for (Node* node : graph_.nodes()) {
      const Observer* observer = observer_of(graph_, node);
      if (!observer) continue;
      Node* value = node->inputs[0];
      qparams_[value] = TensorQParams::from(observer->qparams());
      graph_.replace_uses(node, value);
      graph_.erase(node);
    }
  }

  // Whether an integer layer reads this value, directly or through ops that pass it on.
  bool wanted_as_integer(const Node* value) const {
    return std::ranges::any_of(graph_.users(value), [&](const Node* user) {
      return is_marked(graph_, user) || (passes_integers_on(graph_, user) && wanted_as_integer(user));
    });
  }

  bool wanted_as_integer_only(const Node* value) const {
    return value != graph_.output() && std::ranges::all_of(graph_.users(value), [&](const Node* user) {
             return is_marked(graph_, user) || (passes_integers_on(graph_, user) && wanted_as_integer_only(user));
           });
  }

  void convert_layer(Node* node) {
    Node* input = integer_of(node->inputs[0]);
    const TensorQParams input_qparams = integers_.at(input);
    const auto* linear = graph_.layer_as<nn::Linear>(node);
    const auto weight =
        QuantizationSpec::per_channel_weight(static_cast<int>(node->attributes.get<int64_t>(kWeightBits)));
    const auto own = qparams_.find(node);
    const bool integer_output = own != qparams_.end() && wanted_as_integer(node);
    const auto output = integer_output ? std::optional(own->second) : std::nullopt;
    layer_reports_[node] = {node->name, linear->type(), weight.bits, input_qparams.bits, false, ""};
    graph_.replace_layer(
        node, QuantizedLinear::from_float(*linear, weight, input_qparams, output, linear->type() == "LinearReLU"));
    graph_.set_input(node, 0, input);
    node->attributes = {};
    if (output) integers_[node] = *output;
  }

  // An op that moves elements works on integers if it gets them, or if integer layers alone wait behind it.
  bool can_pass_on(const Node* node) const {
    if (!passes_integers_on(graph_, node)) return false;
    const Node* input = node->inputs[0];
    return integers_.contains(input) || (qparams_.contains(input) && wanted_as_integer_only(node));
  }

  void pass_on(Node* node) {
    graph_.set_input(node, 0, integer_of(node->inputs[0]));
    integers_[node] = integers_.at(node->inputs[0]);
  }

  void take_floats(Node* node) {
    // Moved elements are in the range that they were in before: integer layers behind may quantize them.
    if (passes_integers_on(graph_, node))
      if (const auto it = qparams_.find(node->inputs[0]); it != qparams_.end()) qparams_.emplace(node, it->second);
    for (size_t i = 0; i < node->inputs.size(); ++i)
      if (integers_.contains(node->inputs[i])) graph_.set_input(node, i, float_of(node->inputs[i]));
  }

  // The integer form of a value: itself, or a Quantize node behind it.
  Node* integer_of(Node* value) {
    if (integers_.contains(value)) return value;
    if (const auto it = quantized_.find(value); it != quantized_.end()) return it->second;
    const TensorQParams& p = qparams_.at(value);
    Node* node = graph_.add_layer(value->name + ".quantize", std::make_shared<Quantize>(p), {value}, value);
    integers_[node] = p;
    return quantized_[value] = node;
  }

  Node* float_of(Node* value) {
    if (const auto it = dequantized_.find(value); it != dequantized_.end()) return it->second;
    Node* node = graph_.add_layer(value->name + ".dequantize", std::make_shared<Dequantize>(integers_.at(value)),
                                  {value}, value);
    return dequantized_[value] = node;
  }

  void report(const Node* node) {
    if (node->kind != Node::Kind::layer && node->kind != Node::Kind::op) return;
    if (const auto it = layer_reports_.find(node); it != layer_reports_.end()) return report_->push_back(it->second);
    if (integers_.contains(node) || is_integer_layer(graph_, node)) return;
    const bool is_layer = node->kind == Node::Kind::layer;
    const std::string type = is_layer ? graph_.layer(node).type() : node->target;
    if (passes_integers_on(graph_, node)) return;
    const char* reason = !has_integer_form(graph_, node)   ? "it has no integer form"
                         : graph_.calls_of_layer(node) > 1 ? "its layer is called more than once"
                                                           : "its configuration keeps it float";
    report_->push_back({node->name, type, 32, 32, true, reason});
  }

  Graph graph_;
  ConversionReport* report_;
  std::unordered_map<const Node*, TensorQParams> qparams_;   // of observed values
  std::unordered_map<const Node*, TensorQParams> integers_;  // of nodes that give integers
  std::unordered_map<const Node*, Node*> quantized_, dequantized_;
  std::unordered_map<const Node*, LayerReport> layer_reports_;
};

void check_names(const Graph& graph, const QConfigMapping& mapping) {
  for (const std::string& name : mapping.names())
    check<ValueError>(graph.find(name) != nullptr, "prepare: the configuration names '", name,
                      "', which the graph does not have");
  for (const std::string& type : mapping.types())
    check<ValueError>(nn::is_registered_layer(type), "prepare: the configuration names the layer type '", type,
                      "', which does not exist");
}

// Integer layers take activations unsigned and per tensor, weights signed, symmetric and per output channel.
void check_config(const std::string& layer, const QConfig& config) {
  const QuantizationSpec &a = config.activation, &w = config.weight;
  check_bits(w.bits, str("prepare: the configuration of '", layer, "': weights"));
  check_bits(a.bits, str("prepare: the configuration of '", layer, "': activations"));
  check<ValueError>(!a.is_signed && !a.axis, "prepare: the configuration of '", layer,
                    "' asks for activations that are not unsigned per tensor");
  check<ValueError>(w.is_signed && w.scheme == QScheme::symmetric && w.axis == 0, "prepare: the configuration of '",
                    layer, "' asks for weights that are not signed, symmetric and per output channel (axis 0)");
}

}  // namespace

nn::Graph prepare(const nn::Graph& graph, const QConfigMapping& mapping) {
  check_names(graph, mapping);
  Graph prepared = graph.clone();
  prepared.eval();
  std::unordered_map<const Node*, std::pair<const Node*, QConfig>> chosen;  // observer -> who asked for it, and how
  for (Node* node : prepared.nodes()) {
    if (!has_integer_form(prepared, node) || prepared.calls_of_layer(node) != 1) continue;
    const auto config = mapping.find(node->name, types_of(prepared.layer(node).type()));
    if (!config) continue;
    check_config(node->name, *config);
    node->attributes.set(kWeightBits, int64_t{config->weight.bits});
    Node* value = source_of(prepared, node->inputs[0]);
    if (const auto it = chosen.find(value); it != chosen.end()) {
      const auto& [first, other] = it->second;
      check<ValueError>(other.activation == config->activation && other.observer == config->observer, "prepare: '",
                        first->name, "' and '", node->name,
                        "' read the same value, and their configurations ask for different activations");
      continue;
    }
    Node* observer = prepared.add_layer(value->name + ".observer", make_observer(config->observer, config->activation),
                                        {value}, value);
    prepared.replace_uses(value, observer);
    chosen.emplace(observer, std::pair(node, *config));
  }
  prepared.verify();
  return prepared;
}

nn::Graph convert(const nn::Graph& prepared, ConversionReport* report) { return Converter(prepared, report).run(); }

nn::Graph quantize_model(const nn::Graph& graph, const std::function<void(nn::Graph&)>& calibrate,
                         const QConfigMapping& mapping, ConversionReport* report) {
  Graph prepared = prepare(fuse_conv_bn_relu(graph), mapping);
  {
    const NoGrad guard;
    calibrate(prepared);
  }
  return convert(prepared, report);
}

}  // namespace thimble::quant
