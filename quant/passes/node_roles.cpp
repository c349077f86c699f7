#include <algorithm>
#include <cmath>
#include <string_view>

#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/op.h>
#include <thimble/core/ops/resampling.h>
#include <thimble/core/text.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/recurrent.h>
#include <thimble/quant/passes/integer_forms.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/softmax_inputs.h>
#include <thimble/quant/qat/qat_layers.h>
#include <thimble/quant/qat/qat_recurrent.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

constexpr const char* kMark = "quantize";
constexpr const char* kFunction = "quantize_function";
constexpr const char* kTable = "quantize_table";
constexpr const char* kMadeOf = "made_of";
constexpr const char* kNodeWeight = "quantize_weight_";

// The mean of integers is one, with the same parameters, as long as no padding counts as elements.
bool counts_padding(const Node* node) {
  if (!node->attributes.get<bool>("count_include_pad")) return false;
  const auto padding = node->attributes.get<std::vector<int64_t>>("padding");
  if (node->attributes.contains("auto_pad") || node->attributes.get<bool>("ceil_mode")) return true;
  return std::ranges::any_of(padding, [](int64_t p) { return p != 0; });
}

}  // namespace

bool is_product(const Graph& graph, const Node* node) {
  constexpr std::string_view kTypes[] = {"Linear", "LinearReLU", "QATLinear", "Conv2d", "Conv2dReLU", "QATConv2d"};
  return std::ranges::any_of(kTypes, [&](std::string_view type) { return graph.is_layer(node, type); });
}

bool is_recurrent(const Graph& graph, const Node* node) { return graph.layer_as<nn::RecurrentLayer>(node) != nullptr; }

bool can_have_integer_weights(const Graph& graph, const Node* node) {
  return is_product(graph, node) || is_recurrent(graph, node);
}

bool is_table(const Graph& graph, const Node* node) {
  const bool is_embedding = graph.is_layer(node, "Embedding") || graph.is_layer(node, "EmbeddingBag");
  return is_embedding && table_of(graph, node).dtype() == DType::float32;
}

bool is_depthwise(const Graph& graph, const Node* node) {
  const auto* conv = graph.layer_as<nn::Conv2d>(node);
  return conv && conv->options().groups > 1 && conv->options().groups == conv->in_channels();
}

bool is_concat(const Graph& graph, const Node* node) {
  return graph.is_op(node, "concat") || graph.is_op(node, "stack");
}

bool is_clamp(const Graph& graph, const Node* node) {
  if (node->attributes.contains(kFunction)) return false;
  return graph.is_op(node, "relu") || graph.is_op(node, "relu6") || graph.is_op(node, "clamp");
}

bool follows_inputs(const Graph& graph, const Node* node) {
  return integer_form_of(graph, node) || is_concat(graph, node) || is_clamp(graph, node) ||
         masking_of(graph, node).has_value();
}

bool is_mean_of_neighbours(const Node& resampling) {
  return averages_inputs(interpolate_options(resampling.attributes));
}

bool is_pad(const Graph& graph, const Node* node) {
  const bool pads = graph.is_op(node, "pad") || graph.is_op(node, "pad_same2d") || graph.is_op(node, "pad_same3d");
  if (!pads || nn::operands_of(*node).size() != 1) return false;
  return node->attributes.get<std::string>("mode", "constant") != "constant" ||
         node->attributes.get<double>("value", 0) == 0;
}

Effect effect_of(const Graph& graph, const Node* node) {
  constexpr std::string_view kMoves[] = {"broadcast_to",    "flatten",   "permute",           "pixel_shuffle",
                                         "pixel_unshuffle", "reshape",   "squeeze",           "tile",
                                         "transpose",       "unsqueeze", "upsample_nearest2d"};
  if (std::ranges::any_of(kMoves, [&](std::string_view op) { return graph.is_op(node, op); })) return Effect::moves;
  if (is_pad(graph, node)) return Effect::moves;        // and puts what stands for 0 beside them
  for (const char* same : {"Dropout", "SoftmaxRange"})  // the graph is in evaluation mode
    if (graph.is_layer(node, same)) return Effect::moves;
  constexpr std::string_view kSelects[] = {"chunk",      "diagonal",   "gather",           "gather_nd", "index_select",
                                           "max_pool2d", "max_pool3d", "reverse_sequence", "slice",     "take"};
  if (std::ranges::any_of(kSelects, [&](std::string_view op) { return graph.is_op(node, op); })) return Effect::selects;
  if (is_clamp(graph, node)) return Effect::selects;
  if (graph.is_op(node, "interpolate"))
    return is_mean_of_neighbours(*node)                                 ? Effect::averages
           : node->attributes.get<std::string>("mode", "") == "nearest" ? Effect::selects
                                                                        : Effect::none;
  if (graph.is_op(node, "avg_pool2d")) return counts_padding(node) ? Effect::none : Effect::averages;
  return graph.is_op(node, "adaptive_avg_pool2d") ? Effect::averages : Effect::none;
}

std::span<Node* const> values_of(const Graph& graph, const Node* node) {
  const std::span<Node* const> operands = nn::operands_of(*node);
  const bool is_one = (effect_of(graph, node) != Effect::none || is_recurrent(graph, node)) && operands.size() > 1;
  return is_one ? operands.first(1) : operands;
}

bool passes_integers_on(const Graph& graph, const Node* node) {
  const Effect effect = effect_of(graph, node);
  return effect == Effect::moves || (effect != Effect::none && is_marked(node));
}

bool can_be_integers(const Tensor& constant) {
  constexpr float kLargest = 1000;
  if (constant.dtype() != DType::float32) return false;
  const std::vector<float> values = constant.data().to_vector<float>();
  return std::ranges::all_of(values, [](float v) { return std::abs(v) <= kLargest; });
}

bool come_from_marked(const Graph& graph, std::span<Node* const> values) {
  const auto is_constant = [](const Node* value) { return value->kind == Node::Kind::tensor; };
  return !std::ranges::all_of(values, is_constant) && std::ranges::all_of(values, [&](const Node* value) {
    while (passes_integers_on(graph, value) || observer_of(graph, value)) value = value->inputs[0];
    if (is_recurrent(graph, value) && value->inputs.size() > 1) return false;  // its states are among its outputs
    return is_constant(value) ? can_be_integers(graph.tensor(value)) : is_marked(value);
  });
}

void mark_if_it_picks_integers(const Graph& graph, Node* node) {
  const Effect effect = effect_of(graph, node);
  const bool picks = effect == Effect::averages || (effect == Effect::selects && !is_clamp(graph, node));
  if (picks && come_from_marked(graph, values_of(graph, node))) mark(node);
}

bool is_integer_layer(const Graph& graph, const Node* node) {
  constexpr std::string_view kTypes[] = {"QuantizedLinear",
                                         "QuantizedConv2d",
                                         "QuantizedAdd",
                                         "QuantizedMul",
                                         "QuantizedClamp",
                                         "QuantizedSub",
                                         "QuantizedGroupNorm",
                                         "QuantizedMaximum",
                                         "QuantizedMinimum",
                                         "QuantizedTable",
                                         "QuantizedLayerNorm",
                                         "QuantizedLSTM",
                                         "QuantizedGRU",
                                         "QuantizedRNN",
                                         "QuantizedMatMul",
                                         "QuantizedMean",
                                         "QuantizedScale",
                                         "QuantizedSoftmax",
                                         "QuantizedGlobalAvgPool2d",
                                         "Requantize",
                                         "Quantize",
                                         "Dequantize",
                                         "DynamicQuantizedLinear",
                                         "DynamicQuantizedConv2d",
                                         "WeightOnlyLinear",
                                         "QuantizedEmbedding",
                                         "QuantizedEmbeddingBag"};
  return std::ranges::any_of(kTypes, [&](std::string_view type) { return graph.is_layer(node, type); });
}

std::vector<std::string> types_of(const Graph& graph, const Node* node) {
  const std::string type = type_of(graph, node);
  std::vector<std::string> types{type};
  const auto was = node->attributes.get<std::string>(kMadeOf, "");
  if (!was.empty()) types.push_back(was);
  if (type == "LinearReLU" || type == "QATLinear") types.emplace_back("Linear");
  for (const char* recurrent : {"LSTM", "GRU", "RNN"})
    if (type == str("QAT", recurrent)) types.emplace_back(recurrent);
  if (type == "Conv2dReLU" || type == "QATConv2d") types.emplace_back("Conv2d");
  if (type == "add_relu") types.emplace_back("add");
  return types;
}

const Tensor& weight_of(const Graph& graph, const Node* product) {
  auto* conv = graph.layer_as<nn::Conv2d>(product);
  return conv ? conv->weight : graph.layer_as<nn::Linear>(product)->weight;
}

const Tensor& bias_of(const Graph& graph, const Node* product) {
  auto* conv = graph.layer_as<nn::Conv2d>(product);
  return conv ? conv->bias : graph.layer_as<nn::Linear>(product)->bias;
}

const Tensor& table_of(const Graph& graph, const Node* table) {
  const auto* bag = graph.layer_as<nn::EmbeddingBag>(table);
  return bag ? bag->weight : graph.layer_as<nn::Embedding>(table)->weight;
}

std::vector<Tensor> all_weights_of(const Graph& graph, const Node* node) {
  const auto* recurrent = graph.layer_as<nn::RecurrentLayer>(node);
  if (!recurrent) return {weight_of(graph, node)};
  std::vector<Tensor> weights;
  for (int64_t layer = 0; layer < recurrent->options().num_layers; ++layer)
    for (int64_t d = 0; d < recurrent->num_directions(); ++d) {
      weights.push_back(recurrent->weights(layer, d == 1).ih);
      weights.push_back(recurrent->weights(layer, d == 1).hh);
    }
  return weights;
}

namespace {

std::string too_many_products(int64_t products) {
  constexpr int64_t kMost = kernels::PackedInt8Weights::kMaxK;
  return products <= kMost ? "" : str("it adds ", products, " products up, and integers hold ", kMost);
}

}  // namespace

std::string obstacle_of(const nn::Module& product) {
  if (const auto* recurrent = dynamic_cast<const nn::RecurrentLayer*>(&product)) {
    const DType dtype = recurrent->weights(0).ih.dtype();
    if (dtype != DType::float32) return str("its weights are ", dtype);
    return too_many_products(std::max(recurrent->input_size(), recurrent->num_directions() * recurrent->hidden_size()));
  }
  const auto* conv = dynamic_cast<const nn::Conv2d*>(&product);
  const auto* linear = dynamic_cast<const nn::Linear*>(&product);
  if (!conv && !linear) return "";
  const Shape& weight = (conv ? conv->weight : linear->weight).shape();
  return too_many_products(weight.numel() / std::max<int64_t>(1, weight[0]));
}

bool has_relu(const Graph& graph, const Node* product) { return graph.layer(product).type().ends_with("ReLU"); }

Observer* observer_of(const Graph& graph, const Node* node) { return graph.layer_as<Observer>(node); }

bool reads_sizes(const Graph& graph, const Node* node) { return graph.is_op(node, "shape"); }

std::vector<Node*> readers_of(const Graph& graph, const Node* value) {
  std::vector<Node*> readers = graph.users(value);
  std::erase_if(readers, [&](const Node* user) { return reads_sizes(graph, user); });
  return readers;
}

std::unordered_set<const Node*> nodes_of_sizes(const Graph& graph) {
  std::unordered_set<const Node*> found;
  const auto is_integer = [&](const Node* node) {
    const bool is_constant = node->kind == Node::Kind::tensor && !is_floating_point(graph.tensor(node).dtype());
    return is_constant || found.contains(node);
  };
  for (const Node* node : graph.nodes())
    if (reads_sizes(graph, node) || (!node->inputs.empty() && std::ranges::all_of(node->inputs, is_integer)))
      found.insert(node);
  return found;
}

bool can_share(const Graph& graph, const Node* value) {
  for (;; value = value->inputs[0]) {
    if (graph.is_output(value) || readers_of(graph, value).size() != 1) return false;
    if (!passes_integers_on(graph, value)) return true;
    if (effect_of(graph, value) == Effect::averages) return false;
  }
}

bool has_own_parameters(const Graph& graph, const Node* value) {
  if (!passes_integers_on(graph, value)) return true;
  return is_clamp(graph, value) && can_share(graph, value->inputs[0]);
}

bool is_wanted_product(const Graph& graph, const Node* node, const QConfigMapping& mapping) {
  return can_have_integer_weights(graph, node) && obstacle_of(graph.layer(node)).empty() &&
         mapping.find(node->name, types_of(graph, node)).has_value();
}

bool wants_integers(const Graph& graph, const QConfigMapping& mapping) {
  return std::ranges::any_of(graph.nodes(), [&](const Node* node) {
    return is_wanted_product(graph, node, mapping) ||
           (is_table(graph, node) && mapping.find(node->name, types_of(graph, node)).has_value());
  });
}

namespace {

// 'fc1', 'fc2', ... and how many more: products and tables.
std::string names_of_products(const Graph& graph, bool with_obstacles = true) {
  constexpr size_t kMost = 8;
  std::string names;
  size_t count = 0;
  for (const Node* node : graph.nodes()) {
    if (!can_have_integer_weights(graph, node) && !is_table(graph, node)) continue;
    if (!with_obstacles && !obstacle_of(graph.layer(node)).empty()) continue;
    if (++count <= kMost) names += str(count > 1 ? ", " : "", detail::quote(node->name));
  }
  return count > kMost ? str(names, " and ", count - kMost, " more") : names;
}

}  // namespace

void check_names(const char* pass, const Graph& graph, const QConfigMapping& mapping) {
  const std::vector<Node*> nodes = graph.nodes();
  const auto exists = [&](const std::string& name) {
    return graph.find(name) ||
           std::ranges::any_of(nodes, [&](const Node* node) { return QConfigMapping::matches(name, node->name); });
  };
  for (const std::string& name : mapping.names())
    check<ValueError>(exists(name), pass, ": the configuration names ", detail::quote(name),
                      ", which the graph does not have; its layers are ", names_of_products(graph));
  const std::vector<std::string> ops = registered_ops();
  for (const std::string& type : mapping.types())
    check<ValueError>(nn::is_registered_layer(type) || std::ranges::count(ops, type) > 0, pass,
                      ": the configuration names the type '", type, "', which neither a layer nor an op has");
}

void check_has_no_qat_layers(const char* pass, const Graph& graph) {
  for (const Node* node : graph.nodes())
    check<ValueError>(!graph.layer_as<QATLayer>(node) && !graph.layer_as<QATRecurrent>(node), pass, ": '", node->name,
                      "' is a layer of quantization-aware training; give the float graph, or convert() this one");
}

std::string nothing_to_quantize(const Graph& graph, const QConfigMapping& mapping) {
  for (const Node* node : graph.nodes())
    if (is_integer_layer(graph, node) && !graph.is_layer(node, "Quantize"))
      return str("the graph is quantized already ('", node->name, "' is a ", type_of(graph, node),
                 "); give the float graph");
  if (names_of_products(graph).empty())
    return "the graph has no linear, conv2d or recurrent layer, and no embedding, to quantize";
  const std::string others = names_of_products(graph, /*with_obstacles=*/false);
  for (const Node* node : graph.nodes()) {
    const std::string obstacle = can_have_integer_weights(graph, node) ? obstacle_of(graph.layer(node)) : "";
    if (!obstacle.empty() && (others.empty() || mapping.find(node->name, types_of(graph, node))))
      return str("it would quantize no layer: '", node->name, "' stays float, since ", obstacle,
                 others.empty() ? "" : str("; give a configuration to ", others, ", too"));
  }
  return str("the configuration quantizes no layer; give one to ", others,
             " by set_global(), set_type() or set_name()");
}

void mark(Node* node) { node->attributes.set(kMark, true); }

void mark(Node* node, const WeightQuantization& weight) {
  mark(node);
  node->attributes.set_all(kNodeWeight, weight.to_attributes());
}

void mark_function(Node* result) {
  mark(result);
  result->attributes.set(kFunction, true);
}

void mark_table(Node* node, const WeightQuantization& weight) {
  node->attributes.set(kTable, true);
  node->attributes.set_all(kNodeWeight, weight.to_attributes());
}

bool is_marked_table(const Node* node) { return node->attributes.contains(kTable); }

void note_type(Node* node, const std::string& type) { node->attributes.set(kMadeOf, type); }

bool is_marked(const Node* node) { return node->attributes.contains(kMark); }

void unmark(Node* node) { node->attributes = without_marks(node->attributes); }

WeightQuantization weight_quantization_of(const Node* node) {
  return WeightQuantization::from_attributes(node->attributes.part(kNodeWeight));
}

Attributes without_marks(const Attributes& attributes) {
  Attributes kept;
  for (const auto& [key, value] : attributes)
    if (key != kMark && key != kFunction && key != kTable && !key.starts_with(kNodeWeight)) kept.set(key, value);
  return kept;
}

}  // namespace thimble::quant
