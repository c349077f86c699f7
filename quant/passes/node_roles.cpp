#include <algorithm>
#include <string_view>

#include <thimble/core/op.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/node_roles.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

constexpr const char* kMark = "quantize";
constexpr const char* kWeight = "quantize_weight_";

// The mean of integers is one, with the same parameters, as long as no padding counts as elements.
bool counts_padding(const Node* node) {
  if (!node->attributes.get<bool>("count_include_pad")) return false;
  const auto padding = node->attributes.get<std::vector<int64_t>>("padding");
  return node->attributes.get<bool>("ceil_mode") || std::ranges::any_of(padding, [](int64_t p) { return p != 0; });
}

}  // namespace

bool is_product(const Graph& graph, const Node* node) {
  constexpr std::string_view kTypes[] = {"Linear", "LinearReLU", "QATLinear", "Conv2d", "Conv2dReLU", "QATConv2d"};
  return std::ranges::any_of(kTypes, [&](std::string_view type) { return graph.is_layer(node, type); });
}

bool is_add(const Graph& graph, const Node* node) {
  return (graph.is_op(node, "add") || graph.is_op(node, "add_relu")) && node->inputs.size() == 2;
}

bool is_concat(const Graph& graph, const Node* node) { return graph.is_op(node, "concat"); }

bool is_clamp(const Graph& graph, const Node* node) {
  return graph.is_op(node, "relu") || graph.is_op(node, "relu6") || graph.is_op(node, "clamp");
}

bool follows_inputs(const Graph& graph, const Node* node) {
  return is_add(graph, node) || is_concat(graph, node) || is_clamp(graph, node);
}

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

bool is_integer_layer(const Graph& graph, const Node* node) {
  constexpr std::string_view kTypes[] = {"QuantizedLinear", "QuantizedConv2d", "QuantizedAdd", "QuantizedClamp",
                                         "Requantize",      "Quantize",        "Dequantize"};
  return std::ranges::any_of(kTypes, [&](std::string_view type) { return graph.is_layer(node, type); });
}

std::string type_of(const Graph& graph, const Node* node) {
  return node->kind == Node::Kind::layer ? graph.layer(node).type() : node->target;
}

std::vector<std::string> types_of(const Graph& graph, const Node* node) {
  const std::string type = type_of(graph, node);
  if (type == "LinearReLU" || type == "QATLinear") return {type, "Linear"};
  if (type == "Conv2dReLU" || type == "QATConv2d") return {type, "Conv2d"};
  if (type == "add_relu") return {type, "add"};
  return {type};
}

Tensor& weight_of(const Graph& graph, const Node* product) {
  auto* conv = graph.layer_as<nn::Conv2d>(product);
  return conv ? conv->weight : graph.layer_as<nn::Linear>(product)->weight;
}

Tensor& bias_of(const Graph& graph, const Node* product) {
  auto* conv = graph.layer_as<nn::Conv2d>(product);
  return conv ? conv->bias : graph.layer_as<nn::Linear>(product)->bias;
}

bool has_relu(const Graph& graph, const Node* product) { return graph.layer(product).type().ends_with("ReLU"); }

Observer* observer_of(const Graph& graph, const Node* node) { return graph.layer_as<Observer>(node); }

bool can_share(const Graph& graph, const Node* value, bool all) {
  for (bool sole = true;; value = value->inputs[0]) {
    sole = sole && value != graph.output() && graph.num_users(value) == 1;
    const Effect effect = effect_of(graph, value);
    if (effect == Effect::none) return all || sole;
    if (effect == Effect::averages) return false;
    all = all && effect == Effect::moves;
  }
}

void check_names(const char* pass, const Graph& graph, const QConfigMapping& mapping) {
  for (const std::string& name : mapping.names())
    check<ValueError>(graph.find(name) != nullptr, pass, ": the configuration names '", name,
                      "', which the graph does not have");
  const std::vector<std::string> ops = registered_ops();
  for (const std::string& type : mapping.types())
    check<ValueError>(nn::is_registered_layer(type) || std::ranges::count(ops, type) > 0, pass,
                      ": the configuration names the type '", type, "', which neither a layer nor an op has");
}

void mark(Node* node) { node->attributes.set(kMark, true); }

void mark(Node* node, const WeightQuantization& weight) {
  mark(node);
  node->attributes.set_all(kWeight, weight.to_attributes());
}

bool is_marked(const Node* node) { return node->attributes.contains(kMark); }

WeightQuantization weight_quantization_of(const Node* node) {
  return WeightQuantization::from_attributes(node->attributes.part(kWeight));
}

Attributes without_marks(const Attributes& attributes) {
  Attributes kept;
  for (const auto& [key, value] : attributes)
    if (key != kMark && !key.starts_with(kWeight)) kept.set(key, value);
  return kept;
}

}  // namespace thimble::quant
