#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <thimble/core/tensor.h>
#include <thimble/quant/fuse.h>
#include <thimble/quant/observer.h>
#include <thimble/quant/quantize.h>
#include <thimble/quant/quantized_conv.h>
#include <thimble/quant/quantized_linear.h>
#include <thimble/quant/quantized_ops.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

// Layers that are integer products.
bool is_product(const Graph& graph, const Node* node) {
  constexpr std::string_view kTypes[] = {"Linear", "LinearReLU", "Conv2d", "Conv2dReLU"};
  return std::ranges::any_of(kTypes, [&](std::string_view type) { return graph.is_layer(node, type); });
}

bool is_add(const Graph& graph, const Node* node) {
  return (graph.is_op(node, "add") || graph.is_op(node, "add_relu")) && node->inputs.size() == 2;
}

bool is_concat(const Graph& graph, const Node* node) { return graph.is_op(node, "concat"); }

bool is_clamp(const Graph& graph, const Node* node) {
  return graph.is_op(node, "relu") || graph.is_op(node, "relu6") || graph.is_op(node, "clamp");
}

// Ops that are integer ones where their inputs are.
bool follows_inputs(const Graph& graph, const Node* node) {
  return is_add(graph, node) || is_concat(graph, node) || is_clamp(graph, node);
}

// prepare() leaves on the node itself what convert() must know. On an op that follows its inputs the mark says that it
// becomes an integer one.
constexpr const char* kWeightBits = "weight_bits";

bool is_marked(const Node* node) { return node->attributes.contains(kWeightBits); }

// The mean of integers is one, with the same parameters, as long as no padding counts as elements.
bool counts_padding(const Node* node) {
  if (!node->attributes.get<bool>("count_include_pad")) return false;
  const auto padding = node->attributes.get<std::vector<int64_t>>("padding");
  return node->attributes.get<bool>("ceil_mode") || std::ranges::any_of(padding, [](int64_t p) { return p != 0; });
}

// What a node that works on integers as on floats, with its input's parameters, makes of the elements.
enum class Effect { none, moves, selects, averages };

Effect effect_of(const Graph& graph, const Node* node) {
  constexpr std::string_view kMoves[] = {"flatten",   "reshape", "squeeze",           "unsqueeze",
                                         "transpose", "permute", "upsample_nearest2d"};
  if (std::ranges::any_of(kMoves, [&](std::string_view op) { return graph.is_op(node, op); })) return Effect::moves;
  if (graph.is_layer(node, "Dropout")) return Effect::moves;  // to where they are: the graph is in evaluation mode
  if (graph.is_op(node, "slice") || graph.is_op(node, "max_pool2d")) return Effect::selects;
  if (is_clamp(graph, node)) return is_marked(node) ? Effect::selects : Effect::none;
  if (graph.is_op(node, "avg_pool2d")) return counts_padding(node) ? Effect::none : Effect::averages;
  return graph.is_op(node, "adaptive_avg_pool2d") ? Effect::averages : Effect::none;
}

bool passes_integers_on(const Graph& graph, const Node* node) { return effect_of(graph, node) != Effect::none; }

// Layers that were converted before.
bool is_integer_layer(const Graph& graph, const Node* node) {
  constexpr std::string_view kTypes[] = {"QuantizedLinear", "QuantizedConv2d", "QuantizedAdd", "QuantizedClamp",
                                         "Requantize",      "Quantize",        "Dequantize"};
  return std::ranges::any_of(kTypes, [&](std::string_view type) { return graph.is_layer(node, type); });
}

std::string type_of(const Graph& graph, const Node* node) {
  return node->kind == Node::Kind::layer ? graph.layer(node).type() : node->target;
}

// What a fused layer was made of counts as its type, too: who keeps Linear float means Linear with ReLU as well.
std::vector<std::string> types_of(const Graph& graph, const Node* node) {
  const std::string type = type_of(graph, node);
  if (type == "LinearReLU") return {type, "Linear"};
  if (type == "Conv2dReLU") return {type, "Conv2d"};
  if (type == "add_relu") return {type, "add"};
  return {type};
}

Observer* observer_of(const Graph& graph, const Node* node) { return graph.layer_as<Observer>(node); }

// Whether the source of this value, which a node reads, may have the parameters observed behind that node. Where the
// node or ops in between use a part of the source's range only (`all` or not), nothing else may read the source; a mean
// says too little about it.
bool can_share(const Graph& graph, const Node* value, bool all) {
  for (bool sole = true;; value = value->inputs[0]) {
    sole = sole && value != graph.output() && graph.users(value).size() == 1;
    const Effect effect = effect_of(graph, value);
    if (effect == Effect::none) return all || sole;
    if (effect == Effect::averages) return false;
    all = all && effect == Effect::moves;
  }
}

// The integers that relu, relu6 or clamp keep their input's within.
std::pair<int32_t, int32_t> bounds_of(const Graph& graph, const Node* node, const TensorQParams& p) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const bool is_relu = !graph.is_op(node, "clamp");
  const double low = is_relu ? 0 : node->attributes.get("min", -kInfinity);
  const double high = graph.is_op(node, "relu6") ? 6 : is_relu ? kInfinity : node->attributes.get("max", kInfinity);
  const auto quantized = [&](double bound) {
    const double q = std::nearbyint(bound / double{p.scale}) + p.zero_point;
    return static_cast<int32_t>(std::clamp<double>(q, 0, p.qmax()));
  };
  return {quantized(low), quantized(high)};
}

class Converter {
 public:
  Converter(const Graph& prepared, ConversionReport* report) : graph_(prepared.clone()), report_(report) {}

  Graph run() {
    remove_observers();
    share_parameters();
    for (Node* node : graph_.nodes()) convert_node(node);
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

  // The inputs of a clamp, and of a concatenation where they can, get the parameters that were observed behind it: they
  // hold all that is needed of them. In reverse, so that they reach what stands before several such nodes.
  void share_parameters() {
    std::unordered_set<const Node*> shared;  // a value has the parameters of one concatenation
    const std::vector<Node*> nodes = graph_.nodes();
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
      const Node* node = *it;
      if (!is_marked(node) || !qparams_.contains(node)) continue;
      for (Node* input : node->inputs) {
        Node* source = source_of(input);
        if (is_clamp(graph_, node) ||
            (is_concat(graph_, node) && may_share_with(node, input, source) && shared.insert(source).second))
          qparams_[source] = TensorQParams(qparams_.at(node));
      }
    }
  }

  // Others may want the source of other bits.
  bool may_share_with(const Node* concat, const Node* input, const Node* source) const {
    const auto own = qparams_.find(source);
    return can_share(graph_, input, true) && (own == qparams_.end() || own->second.bits == qparams_.at(concat).bits);
  }

  // The value that has parameters of its own, behind ops that pass them on.
  Node* source_of(Node* node) const {
    while (passes_integers_on(graph_, node) && !qparams_.contains(node)) node = node->inputs[0];
    return node;
  }

  void convert_node(Node* node) {
    const LayerReport before = report_of(node);
    bool integer = true;
    if (is_product(graph_, node) && is_marked(node))
      convert_product(node);
    else if (is_add(graph_, node) && is_marked(node) && wanted_as_integer(node))
      convert_add(node);
    else if (can_pass_on(node))
      return is_clamp(graph_, node) ? convert_clamp(node) : pass_on(node);
    else
      integer = take_floats(node);
    if (report_) report(before, node, integer);
  }

  bool reads_integers(const Node* user) const {
    return ((is_product(graph_, user) || is_add(graph_, user)) && is_marked(user)) ||
           (moves_integers(user) && wanted_as_integer(user));
  }

  bool moves_integers(const Node* node) const {
    return passes_integers_on(graph_, node) || (is_concat(graph_, node) && is_marked(node));
  }

  // Whether an integer layer reads this value, directly or through ops that pass it on.
  bool wanted_as_integer(const Node* value) const {
    return std::ranges::any_of(graph_.users(value), [&](const Node* user) { return reads_integers(user); });
  }

  bool wanted_as_integer_only(const Node* value) const {
    return value != graph_.output() && std::ranges::all_of(graph_.users(value), [&](const Node* user) {
             return reads_integers(user) && (!moves_integers(user) || wanted_as_integer_only(user));
           });
  }

  void convert_product(Node* node) {
    Node* input = integer_of(node->inputs[0]);
    const TensorQParams input_qparams = integers_.at(input);
    const auto weight =
        QuantizationSpec::per_channel_weight(static_cast<int>(node->attributes.get<int64_t>(kWeightBits)));
    const auto own = qparams_.find(node);
    const bool integer_output = own != qparams_.end() && wanted_as_integer(node);
    const auto output = integer_output ? std::optional(own->second) : std::nullopt;
    const bool relu = graph_.layer(node).type().ends_with("ReLU");
    if (const auto* conv = graph_.layer_as<nn::Conv2d>(node))
      graph_.replace_layer(node, QuantizedConv2d::from_float(*conv, weight, input_qparams, output, relu));
    else
      graph_.replace_layer(
          node, QuantizedLinear::from_float(*graph_.layer_as<nn::Linear>(node), weight, input_qparams, output, relu));
    graph_.set_input(node, 0, input);
    node->attributes = {};
    if (output) integers_[node] = *output;
    bits_[node] = {weight.bits, input_qparams.bits};
  }

  void convert_add(Node*& node) {
    Node *a = integer_of(node->inputs[0]), *b = integer_of(node->inputs[1]);
    const TensorQParams output = qparams_.at(node);
    const bool relu = graph_.is_op(node, "add_relu");
    node =
        replace_by_layer(node, std::make_shared<QuantizedAdd>(integers_.at(a), integers_.at(b), output, relu), {a, b});
    integers_[node] = output;
    bits_[node] = {output.bits, output.bits};
  }

  void convert_clamp(Node* node) {
    Node* input = integer_of(node->inputs[0]);
    const TensorQParams p = integers_.at(input);
    const auto [low, high] = bounds_of(graph_, node, p);
    if (low > 0 || high < p.qmax()) {
      integers_[replace_by_layer(node, std::make_shared<QuantizedClamp>(low, high), {input})] = p;
    } else {  // its input's range ends where it would cut
      graph_.replace_uses(node, input);
      erase(node);
    }
  }

  Node* replace_by_layer(Node* op, std::shared_ptr<nn::Module> layer, std::vector<Node*> inputs) {
    const std::string name = std::exchange(op->name, op->name + ".float");
    Node* added = graph_.add_layer(name, std::move(layer), std::move(inputs), op);
    graph_.replace_uses(op, added);
    erase(op);
    return added;
  }

  void erase(Node* node) {
    qparams_.erase(node);  // another node may get its address
    graph_.erase(node);
  }

  // An op that moves elements works on integers if it gets them, or if integer layers alone wait behind it.
  bool can_pass_on(const Node* node) const {
    if (!moves_integers(node)) return false;
    return std::ranges::all_of(node->inputs, [&](Node* input) {
      return integers_.contains(input) || (qparams_.contains(input) && wanted_as_integer_only(node));
    });
  }

  void pass_on(Node* node) {
    const TensorQParams p = is_concat(graph_, node) ? qparams_.at(node) : integers_.at(integer_of(node->inputs[0]));
    for (size_t i = 0; i < node->inputs.size(); ++i)
      graph_.set_input(node, i, with_parameters(integer_of(node->inputs[i]), p));
    integers_[node] = p;
    if (is_concat(graph_, node)) node->attributes = without_mark(node->attributes);
  }

  // An integer value, or a Requantize node behind it.
  Node* with_parameters(Node* value, const TensorQParams& p) {
    const TensorQParams own = integers_.at(value);
    if (own == p) return value;
    for (Node* user : graph_.users(value))
      if (graph_.is_layer(user, "Requantize") && integers_.at(user) == p) return user;
    Node* node = graph_.add_layer(value->name + ".requantize", std::make_shared<Requantize>(own, p), {value}, value);
    integers_[node] = p;
    return node;
  }

  // Returns false: the node stays float.
  bool take_floats(Node* node) {
    // Moved elements are in the range that they were in before: integer layers behind may quantize them.
    if (passes_integers_on(graph_, node))
      if (const auto it = qparams_.find(node->inputs[0]); it != qparams_.end()) qparams_.emplace(node, it->second);
    for (size_t i = 0; i < node->inputs.size(); ++i)
      if (integers_.contains(node->inputs[i])) graph_.set_input(node, i, float_of(node->inputs[i]));
    if (node->kind == Node::Kind::op) node->attributes = without_mark(node->attributes);
    return false;
  }

  static Attributes without_mark(const Attributes& attributes) {
    Attributes kept;
    for (const auto& [key, value] : attributes)
      if (key != kWeightBits) kept.set(key, value);
    return kept;
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

  // What is to be said of a node if it stays float.
  LayerReport report_of(const Node* node) const {
    const bool has_integer_form = is_product(graph_, node) || follows_inputs(graph_, node);
    const char* reason = !has_integer_form                 ? "it has no integer form"
                         : graph_.calls_of_layer(node) > 1 ? "its layer is called more than once"
                         : is_marked(node)                 ? "no integer layer reads its result"
                         : is_product(graph_, node)
                             ? "its configuration keeps it float"
                             : "its inputs or readers are float, or its configuration keeps it so";
    const bool computes = node->kind == Node::Kind::layer || node->kind == Node::Kind::op;
    return {node->name, computes ? type_of(graph_, node) : "", 32, 32, true, reason};
  }

  void report(LayerReport entry, const Node* node, bool integer) {
    if (entry.type.empty() || passes_integers_on(graph_, node)) return;
    if (const auto it = bits_.find(node); it != bits_.end()) {
      entry.weight_bits = it->second.first;
      entry.activation_bits = it->second.second;
    } else if (integer || is_integer_layer(graph_, node)) {
      return;
    }
    entry.kept_float = !integer;
    if (integer) entry.reason = "";
    report_->push_back(std::move(entry));
  }

  Graph graph_;
  ConversionReport* report_;
  std::unordered_map<const Node*, TensorQParams> qparams_;   // of observed values
  std::unordered_map<const Node*, TensorQParams> integers_;  // of nodes that give integers
  std::unordered_map<const Node*, Node*> quantized_, dequantized_;
  std::unordered_map<const Node*, std::pair<int, int>> bits_;  // of weights and activations of converted nodes
};

void check_names(const Graph& graph, const QConfigMapping& mapping) {
  for (const std::string& name : mapping.names())
    check<ValueError>(graph.find(name) != nullptr, "prepare: the configuration names '", name,
                      "', which the graph does not have");
  const std::vector<std::string> ops = registered_ops();
  for (const std::string& type : mapping.types())
    check<ValueError>(nn::is_registered_layer(type) || std::ranges::count(ops, type) > 0,
                      "prepare: the configuration names the type '", type, "', which neither a layer nor an op has");
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

// Puts observers where integer layers will need parameters.
class Preparer {
 public:
  Preparer(const Graph& graph, const QConfigMapping& mapping) : graph_(graph.clone()), mapping_(mapping) {
    graph_.eval();
  }

  Graph run() {
    find_values_for_products();
    for (Node* node : graph_.nodes()) {
      const auto config = config_of(node);
      if (!config) continue;
      check_config(node->name, *config);
      node->attributes.set(kWeightBits, int64_t{config->weight.bits});
      for (Node* input : std::vector<Node*>(node->inputs))
        if (needs_parameters_of(node, input)) observe(source_of(input), node, *config);
      if (gets_parameters(node)) observe(node, node, *config);
      marked_.insert(node);
    }
    graph_.verify();
    return std::move(graph_);
  }

 private:
  // Of a node that becomes an integer one.
  std::optional<QConfig> config_of(const Node* node) {
    const bool product = is_product(graph_, node) && graph_.calls_of_layer(node) == 1;
    // The others are worth it where values are integers already, and shall be afterwards.
    const bool follows = follows_inputs(graph_, node) && for_products_.contains(node) && reads_integers(node);
    if (!product && !follows) return std::nullopt;
    return mapping_.find(node->name, types_of(graph_, node));
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
      check<ValueError>(other.activation == config.activation && other.observer == config.observer, "prepare: '",
                        first->name, "' and '", reader->name,
                        "' read the same value, and their configurations ask for different activations");
      return;
    }
    if (observer_of(graph_, value)) return;
    Node* observer =
        graph_.add_layer(value->name + ".observer", make_observer(config.observer, config.activation), {value}, value);
    graph_.replace_uses(value, observer);
    chosen_.emplace(observer, std::pair(reader, config));
  }

  Graph graph_;
  const QConfigMapping& mapping_;
  std::unordered_set<const Node*> for_products_, marked_;
  std::unordered_map<const Node*, std::pair<const Node*, QConfig>> chosen_;  // observer -> who asked for it, and how
};

}  // namespace

nn::Graph prepare(const nn::Graph& graph, const QConfigMapping& mapping) {
  check_names(graph, mapping);
  return Preparer(graph, mapping).run();
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
