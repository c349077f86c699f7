#include <algorithm>
#include <cmath>
#include <optional>

#include <thimble/core/op.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/layers/quantized_pool.h>
#include <thimble/quant/passes/integer_forms.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/shared_layers.h>
#include <thimble/serialization/onnx/integer_layers.h>
#include <thimble/serialization/onnx/integer_tables.h>
#include <thimble/serialization/onnx/quantized_nodes.h>

namespace thimble::onnx {

namespace {

using nn::Graph;
using nn::Node;
using quant::TensorQParams;

// An unsigned value of the graph, and what it stands for: a file's integer plus `shift`.
struct Unsigned {
  Node* node = nullptr;
  int32_t shift = 0;
  int bits = 8;
};

// An unsigned value of the graph that stands for the float scale * (q - zero_point).
struct Integers {
  Node* node = nullptr;
  TensorQParams parameters = {};
  friend bool operator==(const Integers&, const Integers&) = default;
};

constexpr int kDeepest = 64;        // of what a function's values come through
constexpr size_t kMostSteps = 256;  // of a function

class IntegerLayers {
 public:
  IntegerLayers(Graph& graph, const QuantizedModel& model, Ranks ranks, quant::ConversionReport* report)
      : graph_(graph), nodes_(graph), model_(model), ranks_(std::move(ranks)), report_(report) {}

  void run() {
    for (Node* node : graph_.nodes()) convert(node);
    for (const nn::GraphOutput& output : std::vector(graph_.outputs())) {
      Node* node = output.node;
      if (integers_.contains(node))
        graph_.replace_output(node, float_of(node));
      else if (const auto it = unsigned_.find(node); it != unsigned_.end() && it->second.shift == 0)
        graph_.replace_output(node, it->second.node);
    }
    graph_.eliminate_dead_nodes();
    if (report_) report();
  }

 private:
  bool has_integers(const Node* node) const { return integers_.contains(node); }

  void convert(Node* node) {
    if (node->kind != Node::Kind::op && node->kind != Node::Kind::layer) return;
    if (integers_.contains(node)) return;
    if (nodes_.is_dequantize(node)) return convert_dequantize(node);
    if (nodes_.is_quantize(node)) return convert_quantize(node);
    if (graph_.is_op(node, "shape") && convert_shape(node)) return;
    if (nodes_.moves(node) && has_integers(node->inputs[0])) return move_integers(node);
    if (nodes_.moves(node) && unsigned_.contains(node->inputs[0])) return move_unsigned(node);
    if (clamp_unsigned(node) || look_up_unsigned(node)) return;
    if (const auto product = model_.products.find(node); product != model_.products.end())
      return convert_product(node, product->second);
    if (convert_sums(node)) return;
    const std::optional<TensorQParams> output = nodes_.wanted_parameters(node);
    if (output && (convert_form(node, *output) || convert_concat(node, *output) || convert_mean(node, *output) ||
                   convert_resampling(node, *output) || convert_function(node, *output)))
      return;
    take_floats(node, true);
  }

  // The unsigned integers that a value of the file's integers has; none where its type is not known.
  std::optional<Unsigned> unsigned_of(Node* x, const QuantizedType& type) {
    if (const auto it = unsigned_.find(x); it != unsigned_.end()) return it->second;
    if (type.bits != 8 || x->kind == Node::Kind::tensor) return std::nullopt;
    if (!type.is_signed) return unsigned_[x] = {x, 0, 8};
    Node* wrapped = graph_.add_op(x->name + ".uint8", "cast", {{"dtype", std::string("uint8")}}, {x}, x);
    std::vector<uint8_t> plus_128(256);
    for (size_t i = 0; i < 256; ++i) plus_128[i] = static_cast<uint8_t>(i ^ 128);
    Node* shifted =
        graph_.add_layer(x->name + ".shifted", std::make_shared<quant::QuantizedTable>(plus_128), {wrapped}, wrapped);
    return unsigned_[x] = {shifted, 128, 8};
  }

  void convert_dequantize(Node* node) {
    const std::optional<Unsigned> x = unsigned_of(node->inputs[0], nodes_.zero_point_type(node));
    const auto p = x ? nodes_.parameters_of(node, x->bits, x->shift) : std::nullopt;
    if (p)
      integers_[node] = {x->node, *p};
    else
      take_floats(node, false);
  }

  void convert_quantize(Node* node) {
    Node* x = node->inputs[0];
    const std::optional<TensorQParams> p = nodes_.quantizer(node);
    const QuantizedType type = nodes_.quantized_type(node);
    const int32_t shift = type.is_signed ? 1 << (type.bits - 1) : 0;
    if (p && has_integers(x))
      unsigned_[node] = {with_parameters(integers_.at(x), *p), shift, type.bits};
    else if (p && nodes_.gives_float32(x, model_.other_inputs))  // the op takes int32, too
      unsigned_[node] = {graph_.add_layer(node->name + ".quantize", std::make_shared<quant::Quantize>(*p), {x}, node),
                         shift, type.bits};
    take_floats(node, false);  // for those who read the file's own integers
  }

  bool convert_shape(Node* node) {
    if (!has_integers(node->inputs[0])) return false;
    graph_.set_input(node, 0, integers_.at(node->inputs[0]).node);
    return true;
  }

  // The node moves integers now.
  void move_integers(Node* node) {
    const Integers x = integers_.at(node->inputs[0]);
    graph_.set_input(node, 0, x.node);
    if (nodes_.pads(node)) {
      Attributes attributes = node->attributes;
      const bool is_zero = attributes.get<double>("value", 0.0) == 0;
      attributes.set("value", is_zero ? double{static_cast<float>(x.parameters.zero_point)} : 0.0);
      const std::string op = node->target;
      graph_.replace_op(node, op, std::move(attributes));
    }
    integers_[node] = {node, x.parameters};
  }

  // The same for what stands between a quantize and a dequantize, where padding of 0 would be another float.
  void move_unsigned(Node* node) {
    const Unsigned x = unsigned_.at(node->inputs[0]);
    if (nodes_.pads(node) || node->kind == Node::Kind::layer) return take_floats(node, false);
    if (x.shift == 0) {
      graph_.set_input(node, 0, x.node);
      unsigned_[node] = {node, 0, x.bits};
      return;
    }
    std::vector<Node*> inputs = node->inputs;
    inputs[0] = x.node;
    Node* moved = graph_.add_op(node->name + ".integers", node->target, node->attributes, std::move(inputs), node);
    unsigned_[node] = {moved, x.shift, x.bits};
    take_floats(node, false);
  }

  // Bounds of the file's integers.
  bool clamp_unsigned(Node* node) {
    if (node->inputs.empty()) return false;
    const size_t at = node->inputs.size() == 2 && unsigned_.contains(node->inputs[1]) ? 1 : 0;
    const auto found = unsigned_.find(node->inputs[at]);
    const std::optional<std::pair<double, double>> bounds = nodes_.bounds_of(node, 1 - at);
    if (found == unsigned_.end() || !bounds ||
        (node->inputs.size() == 2 && widens(node->inputs[1 - at], node->inputs[at])))
      return false;
    const Unsigned x = found->second;
    if (std::isnan(bounds->first) || std::isnan(bounds->second)) return false;
    const auto shifted = [&](double bound) { return static_cast<int64_t>(std::clamp(bound + x.shift, 0.0, 255.0)); };
    const int64_t low = shifted(bounds->first), high = shifted(bounds->second);
    if (low > high) return false;
    Node* clamped =
        graph_.add_layer(node->name + ".integers", std::make_shared<quant::QuantizedClamp>(low, high), {x.node}, node);
    unsigned_[node] = {clamped, x.shift, x.bits};
    take_floats(node, false);
    return true;
  }

  // Of 256 known integers one for each.
  bool look_up_unsigned(Node* node) {
    const bool is_plain =
        graph_.is_op(node, "take") && node->inputs.size() == 2 && !node->attributes.contains(nn::kAttributeInputs);
    const NDArray table = is_plain ? nodes_.known(node->inputs[0]) : NDArray();
    if (!table.defined() || table.dtype() != DType::uint8 || table.shape() != Shape{256}) return false;
    const Node* index = node->inputs[1];
    if (!graph_.is_op(index, "cast") || !nodes_.gives_uint8(index->inputs[0])) return false;
    const auto dtype = index->attributes.get<std::string>("dtype", "");
    if (dtype != "int32" && dtype != "int64") return false;
    Node* found =
        replace(node, std::make_shared<quant::QuantizedTable>(table.to_vector<uint8_t>()), {index->inputs[0]});
    unsigned_[found] = {found, 0, 8};
    return true;
  }

  // Whether a known number has more dimensions than a value, so that what is made of both has.
  bool widens(const Node* number, const Node* value) const { return nodes_.known(number).ndim() > rank_of(value); }

  // Where nobody knows, it is taken for 1.
  int rank_of(const Node* value) const {
    const auto it = ranks_.find(value);
    return it == ranks_.end() || it->second < 0 ? 1 : it->second;
  }

  void convert_product(Node* node, const QuantizedOperands& operands) {
    const bool is_product = graph_.is_layer(node, "Conv2d") || graph_.is_layer(node, "Linear");
    if (!is_product || graph_.calls_of_layer(node) > 1) return take_floats(node, true);
    take_bias(node);
    if (!has_integers(node->inputs[0])) {
      const IntegerProductLayer made = weight_only_product(graph_.layer(node), operands);
      if (made.layer) graph_.replace_layer(node, made.layer);
      return made.layer ? take_floats(node, false) : keep_float(node, made.reason);
    }
    const Integers x = integers_.at(node->inputs[0]);
    const std::optional<TensorQParams> output = nodes_.wanted_parameters(node);
    const IntegerProductLayer made = integer_product(graph_.layer(node), operands, x.parameters, output);
    if (!made.layer) return keep_float(node, made.reason);
    Node* input = x.node;
    if (made.doubled_axis)
      input = graph_.add_op(node->name + ".twice", "concat", {{"axis", *made.doubled_axis}}, {input, input}, input);
    graph_.replace_layer(node, made.layer);
    common_weights_.share(operands.weight->values, *made.layer);
    graph_.set_input(node, 0, input);
    if (output) integers_[node] = {node, *output};
  }

  // A known vector that is added to what a product without a bias gives is its bias.
  void take_bias(Node* node) {
    const auto* linear = graph_.layer_as<nn::Linear>(node);
    const std::vector<Node*> users = graph_.users(node);
    if (!linear || linear->bias.defined() || graph_.is_output(node) || users.size() != 1) return;
    Node* add = users[0];
    if (!graph_.is_op(add, "add") || add->inputs[0] == add->inputs[1]) return;
    const size_t other = add->inputs[0] == node ? 1 : 0;
    const NDArray bias = nodes_.known(add->inputs[other]);
    const int64_t out = linear->out_features();
    if (!bias.defined() || bias.dtype() != DType::float32 || bias.shape() != Shape{out}) return;
    const std::shared_ptr<nn::Module> layer =
        nn::make_layer("Linear", {{"in_features", linear->in_features()}, {"out_features", out}, {"bias", true}});
    layer->load_state({{"weight", linear->weight.data()}, {"bias", bias}});
    graph_.replace_layer(node, layer);
    graph_.replace_uses(add, node);
    graph_.set_input(add, 1 - other, add->inputs[other]);  // it goes when dead nodes go, and reads the product no more
  }

  // Where sums of integers are scaled, nobody else needs them as a rule.
  bool convert_sums(Node* node) {
    const std::optional<ScaledSums> sums = scaled_sums(graph_, model_.sums, node);
    if (!sums) return false;
    const NDArray& zero_point = sums->sums->known_zero_point;
    const auto x = sums->dynamic ? std::nullopt
                                 : unsigned_of(sums->sums->x, zero_point.defined()
                                                                  ? quantized_type_of(thimble::name(zero_point.dtype()))
                                                                  : QuantizedType{});
    if (!sums->dynamic && (!x || x->bits != 8)) return false;
    try {
      std::shared_ptr<nn::Module> layer = layer_of(*sums, x ? x->shift : 0);
      replace(node, std::move(layer), {x ? x->node : current_float(sums->dynamic->x)});
      return true;
    } catch (const Error&) {
      return false;  // the ops themselves do the same
    }
  }

  // What a node of the imported graph gives, or what has taken its place.
  Node* current_float(Node* node) {
    while (replaced_.contains(node)) node = replaced_.at(node);
    return has_integers(node) ? float_of(node) : node;
  }

  bool convert_form(Node* node, const TensorQParams& output) {
    const quant::IntegerForm* form = quant::integer_form_of(graph_, node);
    if (!form || !std::ranges::all_of(node->inputs, [&](Node* x) { return has_integers(x); })) return false;
    std::vector<Node*> inputs;
    std::vector<TensorQParams> parameters;
    for (const Node* input : node->inputs) {
      inputs.push_back(integers_.at(input).node);
      parameters.push_back(integers_.at(input).parameters);
    }
    std::shared_ptr<nn::Module> layer;
    try {
      layer = form->layer(graph_, node, parameters, output);
    } catch (const Error& e) {  // scales may be as far apart as floats
      keep_float(node, e.what());
      return true;
    }
    replace_by_layer(node, std::move(layer), inputs, output);
    return true;
  }

  bool convert_concat(Node* node, const TensorQParams& output) {
    const bool joins = graph_.is_op(node, "concat") || graph_.is_op(node, "stack");
    if (!joins || !std::ranges::all_of(node->inputs, [&](Node* x) { return has_integers(x); })) return false;
    for (size_t i = 0; i < node->inputs.size(); ++i)
      graph_.set_input(node, i, with_parameters(integers_.at(node->inputs[i]), output));
    integers_[node] = {node, output};
    return true;
  }

  bool convert_mean(Node* node, const TensorQParams& output) {
    const bool is_global = graph_.is_op(node, "adaptive_avg_pool2d") &&
                           !node->attributes.contains(nn::kAttributeInputs) &&
                           node->attributes.get<std::vector<int64_t>>("output_size") == std::vector<int64_t>{1, 1};
    if (!is_global || !has_integers(node->inputs[0])) return false;
    const Integers x = integers_.at(node->inputs[0]);
    replace_by_layer(node, std::make_shared<quant::QuantizedGlobalAvgPool2d>(x.parameters, output), {x.node}, output);
    return true;
  }

  // Means of neighbours, on the input's own grid. What is half-way between two integers may go to the other one.
  bool convert_resampling(Node* node, const TensorQParams& output) {
    const bool is_mean = graph_.is_op(node, "interpolate") && quant::is_mean_of_neighbours(*node);
    if (!is_mean || !has_integers(node->inputs[0])) return false;
    const Integers x = integers_.at(node->inputs[0]);
    if (!(x.parameters == output)) return false;
    graph_.set_input(node, 0, x.node);
    integers_[node] = {node, output};
    return true;
  }

  // A function of one integer value and known numbers is a table.
  bool convert_function(Node* node, const TensorQParams& output) {
    Function function;
    if (!evaluate(node, function, 0) || !function.source.node || function.number_dims > function.rank) return false;
    const Integers& x = function.source;
    const std::vector<uint8_t> table = table_of(function.values.at(node), output);
    std::shared_ptr<nn::Module> layer = table_layer(table, x.parameters.qmax());
    if (layer)
      replace_by_layer(node, std::move(layer), {x.node}, output);
    else
      integers_[node] = {x.node, output};
    return true;
  }

  // What nodes give for each integer of the one that they depend on.
  struct Function {
    Integers source = {};
    int rank = 0;         // the source's
    int number_dims = 0;  // that numbers have at most
    std::unordered_map<const Node*, NDArray> values = {};
  };

  bool evaluate(const Node* node, Function& function, int depth) const {
    if (function.values.contains(node)) return true;
    if (const auto x = integers_.find(node); x != integers_.end()) {
      const bool is_another = function.source.node && !(function.source == x->second);
      if (is_another) return false;
      function.source = x->second;
      function.rank = rank_of(node);
      function.values[node] = floats_of(x->second.parameters);
      return true;
    }
    if (const NDArray number = nodes_.known(node); number.defined()) {
      if (number.numel() != 1 || number.dtype() != DType::float32) return false;
      function.number_dims = std::max(function.number_dims, number.ndim());
      function.values[node] = number.reshape({});
      return true;
    }
    const bool is_simple = node->kind == Node::Kind::op && !node->attributes.contains(nn::kAttributeInputs);
    if (!is_simple || depth > kDeepest || function.values.size() > kMostSteps) return false;
    std::vector<Tensor> operands;
    std::vector<nn::ValueInfo> infos;
    for (const Node* input : node->inputs) {
      if (!evaluate(input, function, depth + 1)) return false;
      operands.emplace_back(function.values.at(input));
      infos.push_back({.shape = operands.back().shape()});
    }
    if (infos.size() > 2 || !nn::is_pointwise_op(node->target, infos)) return false;
    function.values[node] = apply(make_op(node->target, node->attributes), std::move(operands)).data();
    return true;
  }

  // The integers, or a node behind them that gives those of other parameters.
  Node* with_parameters(const Integers& x, const TensorQParams& p) {
    if (x.parameters == p) return x.node;
    for (const auto& [known, node] : requantized_[x.node])
      if (known == std::pair(x.parameters, p)) return node;
    std::shared_ptr<nn::Module> layer = table_layer(table_of(floats_of(x.parameters), p), x.parameters.qmax());
    Node* node = layer ? graph_.add_layer(x.node->name + ".requantize", std::move(layer), {x.node}, x.node) : x.node;
    requantized_[x.node].emplace_back(std::pair(x.parameters, p), node);
    return node;
  }

  void replace_by_layer(Node* op, std::shared_ptr<nn::Module> layer, std::vector<Node*> inputs,
                        const TensorQParams& output) {
    Node* added = replace(op, std::move(layer), std::move(inputs));
    integers_[added] = {added, output};
  }

  Node* replace(Node* op, std::shared_ptr<nn::Module> layer, std::vector<Node*> inputs) {
    const std::string name = op->name;
    graph_.rename(op, unused_name(name + ".float"));
    Node* added = graph_.add_layer(name, std::move(layer), std::move(inputs), op);
    graph_.replace_uses(op, added);
    if (const auto rank = ranks_.find(op); rank != ranks_.end()) ranks_[added] = rank->second;
    return replaced_[op] = added;
  }

  std::string unused_name(std::string name) const {
    while (graph_.find(name)) name += '_';
    return name;
  }

  // The node stays as it is, and reads floats and the file's integers.
  void take_floats(Node* node, bool computes) {
    bool reads_integers = false;
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      Node* input = node->inputs[i];
      const auto file = unsigned_.find(input);
      if (has_integers(input)) {
        graph_.set_input(node, i, float_of(input));
        reads_integers = true;
      } else if (file != unsigned_.end() && file->second.shift == 0) {
        graph_.set_input(node, i, file->second.node);
      }
    }
    if (reads_integers && computes) keep(node, "it has no integer form");
  }

  void keep_float(Node* node, const std::string& reason) {
    take_floats(node, false);
    keep(node, reason);
  }

  void keep(Node* node, const std::string& reason) { kept_.emplace_back(node, reason); }

  Node* float_of(Node* node) {
    if (const auto it = dequantized_.find(node); it != dequantized_.end()) return it->second;
    const Integers x = integers_.at(node);
    Node* added = graph_.add_layer(x.node->name + ".dequantize", std::make_shared<quant::Dequantize>(x.parameters),
                                   {x.node}, x.node);
    integers_[added] = x;
    ranks_[added] = rank_of(node);
    return dequantized_[node] = dequantized_[added] = added;
  }

  // Of what the outputs still depend on.
  void report() {
    const std::vector<Node*> nodes = graph_.nodes();
    const std::unordered_set<const Node*> alive(nodes.begin(), nodes.end());
    const auto add = [&](const Node* node, const std::string& reason) {
      report_->push_back({node->name, type_of(graph_, node), 32, 32, true, reason});
    };
    for (const auto& [node, reason] : kept_)
      if (alive.contains(node)) add(node, reason);
    for (const Node* node : nodes)
      if (nodes_.is_quantize(node) || nodes_.is_dequantize(node))
        add(node, "its parameters are no scale and zero point of 8 bits for the whole tensor that are known");
  }

  Graph& graph_;
  quant::CommonWeights common_weights_;
  QuantizedNodes nodes_;
  const QuantizedModel& model_;
  Ranks ranks_;
  quant::ConversionReport* report_;
  std::unordered_map<const Node*, Unsigned> unsigned_;  // of nodes that give the file's integers
  std::unordered_map<const Node*, Integers> integers_;  // of nodes that give floats, or did
  std::unordered_map<const Node*, Node*> dequantized_;
  std::unordered_map<const Node*, Node*> replaced_;
  std::unordered_map<const Node*, std::vector<std::pair<std::pair<TensorQParams, TensorQParams>, Node*>>> requantized_;
  std::vector<std::pair<const Node*, std::string>> kept_;
};

}  // namespace

void use_integer_layers(nn::Graph& graph, const QuantizedModel& model, Ranks ranks, quant::ConversionReport* report) {
  IntegerLayers(graph, model, std::move(ranks), report).run();
}

}  // namespace thimble::onnx
