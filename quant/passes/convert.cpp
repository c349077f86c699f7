#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_linear.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/layers/quantized_recurrent.h>
#include <thimble/quant/layers/quantized_scale.h>
#include <thimble/quant/layers/quantized_values.h>
#include <thimble/quant/passes/integer_forms.h>
#include <thimble/quant/passes/integer_tables.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/shared_layers.h>
#include <thimble/quant/passes/softmax_inputs.h>
#include <thimble/quant/passes/value_functions.h>
#include <thimble/quant/qat/fake_quantize.h>
#include <thimble/quant/qat/qat_layers.h>
#include <thimble/quant/qat/qat_recurrent.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

// The integers that relu, relu6 or clamp keep their input's within.
std::pair<int32_t, int32_t> bounds_of(const Graph& graph, const Node* node, const TensorQParams& p) {
  constexpr double kUnbounded = std::numeric_limits<double>::infinity();
  const bool is_relu = !graph.is_op(node, "clamp");
  const double low = is_relu ? 0 : node->attributes.get("min", -kUnbounded);
  const double high = graph.is_op(node, "relu6") ? 6 : is_relu ? kUnbounded : node->attributes.get("max", kUnbounded);
  const auto quantized = [&](double bound) {
    const double q = std::nearbyint(bound / double{p.scale}) + p.zero_point;
    return static_cast<int32_t>(std::clamp<double>(q, 0, p.qmax()));
  };
  return {quantized(low), quantized(high)};
}

class Converter {
 public:
  Converter(const Graph& prepared, ConversionReport* report)
      : graph_(prepared.clone()), report_(report), tables_(graph_) {
    graph_.eval();
    keep_tables_of_floats();
  }

  Graph run() {
    for (Node* node : graph_.nodes())
      mark_if_it_picks_integers(graph_, node);  // in files of earlier versions it is not
    separate_products();
    remove_observers();
    functions_ = ValueFunctions(graph_);
    sizes_ = nodes_of_sizes(graph_);
    add_masks();
    leave_differences();
    share_parameters();
    narrow_masks();
    narrow_bounds();
    find_integer_readers();
    const std::vector<Node*> nodes = graph_.nodes();
    if (report_)
      for (const Node* node : nodes) reports_[node] = report_of(node);  // while its inputs are what they were
    for (Node* node : nodes)
      if (!is_inside_of_table(node)) convert_node(node);
    for (Node* node : graph_.nodes())
      if (is_marked_table(node)) convert_table(node);
    for (const nn::GraphOutput& output : std::vector(graph_.outputs()))
      if (integers_.contains(output.node)) graph_.replace_output(output.node, float_of(output.node));
    graph_.eliminate_dead_nodes();
    graph_.verify();
    return std::move(graph_);
  }

 private:
  // Each call of a product has parameters of its own.
  void separate_products() {
    std::vector<Node*> products = graph_.nodes();
    std::erase_if(products, [&](const Node* node) { return !reads_by_weights(node); });
    separate_calls(graph_, products);
  }

  // Those that are the weights of products which stay float.
  void keep_tables_of_floats() {
    for (Node* node : graph_.nodes()) {
      if (!is_marked_table(node)) continue;
      const auto stays_float = [&](const std::string& product) { return !is_marked(graph_.find(product)); };
      const std::string obstacle = tables_.obstacle_of(node, stays_float);
      if (obstacle.empty()) continue;
      unmark(node);
      table_obstacles_.emplace(node, obstacle);
    }
  }

  // When products are what they will be. Its entry in the report is there already.
  void convert_table(Node* node) {
    const WeightQuantization quantization = weight_quantization_of(node);
    const std::string remark = tables_.replace(node, graph_, quantization);
    unmark(node);
    if (!report_) return;
    for (LayerReport& entry : *report_)
      if (entry.name == node->name)
        entry = {node->name, entry.type, quantization.spec.bits, 32, /*kept_float=*/false, remark};
  }

  // Keeps what they saw by the value they watched. An observer of a value that has parameters already stays: it is
  // where this value becomes one of other parameters.
  void remove_observers() {
    for (Node* node : graph_.nodes()) {
      if (graph_.is_layer(node, "SoftmaxRange")) {
        graph_.replace_uses(node, node->inputs[0]);
        graph_.erase(node);
        continue;
      }
      const Observer* observer = observer_of(graph_, node);
      if (!observer) continue;
      Node* value = node->inputs[0];
      const bool changes_parameters = qparams_.contains(source_of(value));
      if (graph_.layer_as<FakeQuantize>(node)) trained_.insert(value);
      qparams_[changes_parameters ? node : value] = TensorQParams::from(observer->qparams());
      if (changes_parameters) continue;
      graph_.replace_uses(node, value);
      graph_.erase(node);
    }
  }

  // What masks scores becomes an addition of integers, or stays what it is: a softmax that gets floats needs another
  // mask than one of integers.
  void add_masks() {
    find_integer_readers();
    AddedMasks added(graph_);
    for (Node* node : graph_.nodes()) {
      if (adds_uneven_mask(graph_, node)) uneven_masks_.insert(node);
      const auto masking = is_marked(node) && !functions_.of(node) ? masking_of(graph_, node) : std::nullopt;
      if (!masking || !wanted_as_integer(node)) continue;
      if (masking->fill == 0 && !hides_observed(node, *masking)) {
        unmark(only_softmax_behind(graph_, node));
        unmark(node);
        uneven_masks_.insert(node);
        continue;
      }
      const TensorQParams own = observed(node);
      const bool trained = trained_.erase(node) > 0;
      qparams_.erase(node);
      Node* sum = added.replace(node);
      qparams_.emplace(sum, own);
      if (trained) trained_.insert(sum);
      mark(sum);
      masks_added_.insert(sum);
    }
    functions_ = ValueFunctions(graph_);
  }

  // Whether the mask is large enough for scores as far from 0 as observed.
  bool hides_observed(const Node* node, const Masking& masking) const {
    const TensorQParams& scores = observed(source_of(node->inputs[masking.scores]));
    const auto axis = only_softmax_behind(graph_, node)->attributes.get<int64_t>("axis", -1);
    return hides_evenly(graph_.tensor(node->inputs[masking.constant]), axis, low_end(scores), high_end(scores));
  }

  bool adds_mask(const Node* node) const { return masks_added_.contains(node); }

  void narrow_scores(const Node* node) {
    Node* scores = node->inputs[1 - mask_of(node)];
    const auto own = qparams_.find(source_of(scores)), sum = qparams_.find(node);
    if (own == qparams_.end() || sum == qparams_.end() || trained_.contains(own->first) || !can_share(graph_, scores))
      return;
    own->second = needed_scores(own->second, graph_.tensor(node->inputs[mask_of(node)]), sum->second);
  }

  // Masks are as far below the scores as these need, so that what else is in them keeps its digits.
  void narrow_masks() {
    struct Need {
      double least = 0;  // that readers need
      int bits = 0;
    };
    std::unordered_map<const Node*, Need> needs;
    for (const Node* node : graph_.nodes()) {
      if (!adds_mask(node)) continue;
      const TensorQParams& scores = observed(source_of(node->inputs[1 - mask_of(node)]));
      Need& need = needs[node->inputs[mask_of(node)]];
      need.least = std::min(need.least, least_of_mask(scores, observed(node)));
      need.bits = std::max(need.bits, scores.bits);
    }
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    for (const auto& [mask, need] : needs)
      qparams_[mask] = qparams_within(graph_.tensor(mask), need.least, kInfinity, need.bits);
  }

  // What of a constant lies below all values that it is the maximum with, or above those of a minimum, changes nothing,
  // and the rest keeps its digits.
  void narrow_bounds() {
    for (const Node* constant : graph_.nodes()) {
      const auto own = qparams_.find(constant);
      if (constant->kind != Node::Kind::tensor || own == qparams_.end() || trained_.contains(constant)) continue;
      const auto [low, high] = bounds_that_count(constant);
      if (std::isfinite(low) || std::isfinite(high))
        own->second = qparams_within(graph_.tensor(constant), low, high, own->second.bits);
    }
  }

  // Between which its readers tell its numbers apart.
  std::pair<float, float> bounds_that_count(const Node* constant) const {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    float low = kInfinity, high = -kInfinity;
    for (const Node* reader : graph_.users(constant)) {
      const bool is_maximum = graph_.is_op(reader, "maximum"), is_minimum = graph_.is_op(reader, "minimum");
      const auto other = is_maximum || is_minimum
                             ? qparams_.find(source_of(reader->inputs[reader->inputs[0] == constant ? 1 : 0]))
                             : qparams_.end();
      if (other == qparams_.end()) return {-kInfinity, kInfinity};
      low = std::min(low, is_maximum ? low_end(other->second) : -kInfinity);
      high = std::max(high, is_minimum ? high_end(other->second) : kInfinity);
    }
    return {low, high};
  }

  // The inputs of a clamp or a concatenation get, where they can, the parameters that were observed behind it: they
  // hold all that is needed of them. A function's source gets the range that the function needs. In reverse, so that
  // they reach what stands before several such nodes.
  void share_parameters() {
    const std::vector<Node*> nodes = graph_.nodes();
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
      const Node* node = *it;
      if (is_marked(node) && functions_.of(node)) narrow_source(*functions_.of(node));
      if (adds_mask(node)) narrow_scores(node);
      if (!is_marked(node) || !qparams_.contains(node) || !(is_clamp(graph_, node) || is_concat(graph_, node)))
        continue;
      for (Node* input : node->inputs)
        if (can_share(graph_, input)) qparams_[source_of(input)] = TensorQParams(qparams_.at(node));
    }
  }

  // Not in training, which has seen the rounding of the whole range.
  void narrow_source(const ValueFunction& function) {
    const auto source = qparams_.find(function.source()), result = qparams_.find(function.result());
    if (source == qparams_.end() || result == qparams_.end() || trained_.contains(function.source())) return;
    if (!alone_reads_source(graph_, function)) return;
    source->second = needed_range(source->second, result->second,
                                  [&](const NDArray& x) { return values_at(graph_, function, Tensor(x)).data(); });
  }

  // Where sums are far smaller than what they are made of, the rounding of that is too large for them. Training has
  // seen it. What a clamp or a concatenation makes of a sum says nothing of it.
  void leave_differences() {
    constexpr double kMost = 4;
    const auto span_of = [](const TensorQParams& p) { return double{p.scale} * p.qmax(); };
    for (Node* node : graph_.nodes()) {
      const bool sums = graph_.is_op(node, "add") || graph_.is_op(node, "add_relu") || graph_.is_op(node, "sub");
      const auto own = qparams_.find(node);
      if (!sums || !is_marked(node) || functions_.of(node) || adds_mask(node)) continue;
      if (own == qparams_.end() || trained_.contains(node)) continue;
      for (Node* input : node->inputs) {
        const auto its = qparams_.find(source_of(input));
        if (its == qparams_.end() || span_of(its->second) <= kMost * span_of(own->second)) continue;
        differences_.emplace(node, str("its values are far smaller than those of its input '", input->name, "'"));
        unmark(node);
        break;
      }
    }
  }

  // The value that has parameters of its own, behind ops that pass them on.
  Node* source_of(Node* node) const {
    while (passes_integers_on(graph_, node) && !qparams_.contains(node)) node = node->inputs[0];
    return node;
  }

  void convert_node(Node* node) {
    if (observer_of(graph_, node)) return change_parameters(node);
    const Node* before = node;
    bool integer = true;
    if (reads_by_weights(node))
      convert_layer(node);
    else if (becomes_table(node))
      convert_function(node);
    else if (becomes_integer_form(node))
      convert_form(node);
    else if (can_pass_on(node))
      return is_clamp(graph_, node) ? convert_clamp(node) : pass_on(node);
    else
      integer = take_floats(node);
    if (report_) report(reports_.at(before), node, integer);
  }

  bool becomes_table(const Node* node) const {
    return functions_.of(node) && is_marked(node) && wanted_as_integer(node);
  }

  // Part of a function that becomes a table, but not its result: nobody will need it.
  bool is_inside_of_table(const Node* node) const {
    const ValueFunction* function = functions_.around(node);
    return function && function->result() != node && becomes_table(function->result());
  }

  bool becomes_integer_form(const Node* node) const {
    return integer_form_of(graph_, node) && is_marked(node) && wanted_as_integer(node);
  }

  // In reverse, so that what a value's readers do with it is known already.
  void find_integer_readers() {
    wanted_.clear();
    wanted_only_.clear();
    const std::vector<Node*> nodes = graph_.nodes();
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
      const std::vector<const Node*> readers = readers_of(*it);
      const auto reads = [&](const Node* reader) { return reads_integers(reader); };
      const auto wants_nothing_else = [&](const Node* reader) {
        return reads_integers(reader) && (!moves_integers(reader) || wanted_as_integer_only(reader));
      };
      if (std::ranges::any_of(readers, reads)) wanted_.insert(*it);
      if (!graph_.is_output(*it) && std::ranges::all_of(readers, wants_nothing_else)) wanted_only_.insert(*it);
    }
  }

  // Who reads a value inside of a function is the function.
  std::vector<const Node*> readers_of(const Node* value) const {
    std::vector<const Node*> readers;
    for (const Node* user : quant::readers_of(graph_, value)) {
      const ValueFunction* function = functions_.around(user);
      readers.push_back(function && is_marked(function->result()) ? function->result() : user);
    }
    return readers;
  }

  bool reads_integers(const Node* reader) const {
    return reads_by_weights(reader) || becomes_table(reader) || becomes_integer_form(reader) ||
           (moves_integers(reader) && wanted_as_integer(reader));
  }

  // Whether it multiplies integers by weights.
  bool reads_by_weights(const Node* node) const { return can_have_integer_weights(graph_, node) && is_marked(node); }

  bool moves_integers(const Node* node) const {
    return passes_integers_on(graph_, node) || (is_concat(graph_, node) && is_marked(node)) ||
           observer_of(graph_, node);
  }

  // Whether an integer layer reads this value, directly or through ops that pass it on.
  bool wanted_as_integer(const Node* value) const { return wanted_.contains(value); }
  bool wanted_as_integer_only(const Node* value) const { return wanted_only_.contains(value); }

  void convert_layer(Node* node) {
    if (is_product(graph_, node))
      convert_product(node);
    else
      convert_recurrent(node);
  }

  void convert_product(Node* node) {
    Node* input = integer_of(node->inputs[0]);
    const TensorQParams input_qparams = integers_.at(input);
    const auto own = qparams_.find(node);
    const bool integer_output = own != qparams_.end() && wanted_as_integer(node);
    const auto output = integer_output ? std::optional(own->second) : std::nullopt;
    const ProductWeights weights = weights_of(node);
    const NDArray float_weight = weight_of(graph_, node).data();
    graph_.replace_layer(node, integer_layer(node, weights, input_qparams, output));
    common_weights_.share(float_weight, graph_.layer(node));
    graph_.set_input(node, 0, input);
    node->attributes = {};
    if (output) integers_[node] = *output;
    bits_[node] = {weights.qparams.spec.bits, input_qparams.bits};
  }

  // States that it begins with are floats, and those that it gives, so all that it gives then is.
  void convert_recurrent(Node* node) {
    Node* input = integer_of(node->inputs[0]);
    QuantizedRecurrent::Quantization q{.weight = weight_quantization_of(node), .input = integers_.at(input)};
    if (const auto* trained = graph_.layer_as<QATRecurrent>(node)) q.weight_qparams = trained->weight_qparams();
    const auto own = qparams_.find(node);
    if (own != qparams_.end() && wanted_as_integer(node) && node->inputs.size() == 1) q.output = own->second;
    graph_.replace_layer(node, QuantizedRecurrent::from_float(*graph_.layer_as<nn::RecurrentLayer>(node), q));
    graph_.set_input(node, 0, input);
    for (size_t i = 1; i < node->inputs.size(); ++i)
      if (integers_.contains(node->inputs[i])) graph_.set_input(node, i, float_of(node->inputs[i]));
    node->attributes = {};
    if (q.output) integers_[node] = *q.output;
    bits_[node] = {q.weight.spec.bits, q.input->bits};
  }

  ProductWeights weights_of(const Node* node) {
    if (const auto* trained = graph_.layer_as<QATLayer>(node)) return trained->product_weights();
    const Tensor& weight = weight_of(graph_, node);
    return {weight, bias_of(graph_, node), common_weights_.qparams(weight_quantization_of(node), weight.data())};
  }

  std::shared_ptr<nn::Module> integer_layer(const Node* node, const ProductWeights& weights, const TensorQParams& input,
                                            const std::optional<TensorQParams>& output) const {
    const auto* trained = graph_.layer_as<QATLayer>(node);
    const bool relu = trained ? trained->has_relu() : has_relu(graph_, node);
    if (const auto* conv = graph_.layer_as<nn::Conv2d>(node))
      return QuantizedConv2d::from_weights(weights, conv->options(), input, output, relu);
    return QuantizedLinear::from_weights(weights, input, output, relu);
  }

  void convert_form(Node*& node) {
    std::vector<Node*> inputs;
    std::vector<TensorQParams> parameters;
    for (Node* input : node->inputs) {
      inputs.push_back(integer_of(input));
      parameters.push_back(integers_.at(inputs.back()));
    }
    const TensorQParams output = observed(node);
    become(node, integer_form_of(graph_, node)->layer(graph_, node, parameters, output), inputs, output);
  }

  // Of each integer the function's value, rounded; the integer itself, where that is a multiple.
  void convert_function(Node*& node) {
    const ValueFunction& function = *functions_.of(node);
    Node* input = integer_of(function.source());
    const TensorQParams own = integers_.at(input), output = observed(node);
    const Tensor values = values_at(graph_, function, floats_of(own));
    if (const auto factor = factor_of(values.data(), own); factor && own.bits == output.bits) {
      const auto scale = static_cast<float>(*factor * double{own.scale});
      return become(node, std::make_shared<QuantizedScale>(*factor), {input}, {scale, own.zero_point, own.bits});
    }
    become(node, std::make_shared<QuantizedTable>(table_of(values.data(), output), own, output), {input}, output);
  }

  void become(Node*& node, std::shared_ptr<nn::Module> layer, const std::vector<Node*>& inputs,
              const TensorQParams& output) {
    node = replace_by_layer(node, std::move(layer), inputs);
    integers_[node] = output;
    const int bits = integers_.at(inputs[0]).bits;
    bits_[node] = {bits, bits};
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

  // What reads behind this observer gets the value with its parameters.
  void change_parameters(Node* observer) {
    Node* value = observer->inputs[0];
    const TensorQParams p = qparams_.at(observer);
    graph_.replace_uses(observer, integers_.contains(value) ? with_parameters(value, p) : add_quantize(value, p));
    erase(observer);
  }

  Node* replace_by_layer(Node* op, std::shared_ptr<nn::Module> layer, std::vector<Node*> inputs) {
    const std::string name = op->name;
    std::string aside = name + ".float";
    while (graph_.find(aside)) aside += '_';
    graph_.rename(op, aside);
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
    if (!moves_integers(node) || (is_concat(graph_, node) && !qparams_.contains(node))) return false;
    return std::ranges::all_of(values_of(graph_, node), [&](Node* input) {
      return integers_.contains(input) || (qparams_.contains(input) && wanted_as_integer_only(node));
    });
  }

  void pass_on(Node* node) {
    const TensorQParams p = is_concat(graph_, node) ? observed(node) : integers_.at(integer_of(node->inputs[0]));
    for (size_t i = 0; i < values_of(graph_, node).size(); ++i)
      graph_.set_input(node, i, with_parameters(integer_of(node->inputs[i]), p));
    integers_[node] = p;
    if (node->kind == Node::Kind::op) unmark(node);
    if (is_pad(graph_, node)) node->attributes.set("value", static_cast<double>(p.zero_point));
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
    if (effect_of(graph_, node) != Effect::none)
      if (const auto it = qparams_.find(node->inputs[0]); it != qparams_.end()) qparams_.emplace(node, it->second);
    for (size_t i = 0; i < node->inputs.size(); ++i)
      if (integers_.contains(node->inputs[i]) && !reads_sizes(graph_, node))
        graph_.set_input(node, i, float_of(node->inputs[i]));
    if (node->kind == Node::Kind::op) unmark(node);
    return false;
  }

  const TensorQParams& observed(const Node* value) const {
    const auto it = qparams_.find(value);
    check<ValueError>(it != qparams_.end(), "convert: '", value->name,
                      "' is to be quantized, but has no observer behind it; give a graph of prepare()");
    return it->second;
  }

  // The integer form of a value: itself, or a Quantize node behind it.
  Node* integer_of(Node* value) {
    if (integers_.contains(value)) return value;
    if (const auto it = quantized_.find(value); it != quantized_.end()) return it->second;
    return quantized_[value] = add_quantize(value, observed(value));
  }

  // A constant's integers are constants.
  Node* add_quantize(Node* value, const TensorQParams& p) {
    const auto quantize = std::make_shared<Quantize>(p);
    Node* node = graph_.add_layer(value->name + ".quantize", quantize, {value}, value);
    if (value->kind == Node::Kind::tensor) {
      const NoGrad guard;
      graph_.replace_by_tensor(node, (*quantize)(graph_.tensor(value)));
    }
    integers_[node] = p;
    return node;
  }

  Node* float_of(Node* value) {
    if (const auto it = dequantized_.find(value); it != dequantized_.end()) return it->second;
    Node* node = graph_.add_layer(value->name + ".dequantize", std::make_shared<Dequantize>(integers_.at(value)),
                                  {value}, value);
    return dequantized_[value] = node;
  }

  // What is to be said of a node if it stays float.
  LayerReport report_of(const Node* node) const {
    const bool computes = node->kind == Node::Kind::layer || node->kind == Node::Kind::op;
    return {node->name, computes ? type_of(graph_, node) : "", 32, 32, true, reason_of(node)};
  }

  std::string reason_of(const Node* node) const {
    const ValueFunction* function = functions_.around(node);
    if (can_have_integer_weights(graph_, node)) {
      const std::string obstacle = obstacle_of(graph_.layer(node));
      return obstacle.empty() ? "its configuration keeps it float" : obstacle;
    }
    if (is_table(graph_, node)) {
      const auto obstacle = table_obstacles_.find(node);
      return obstacle == table_obstacles_.end() ? "its configuration keeps it float" : obstacle->second;
    }
    if (!function && !follows_inputs(graph_, node)) return "it has no integer form";
    if (uneven_masks_.contains(node)) return "softmax of a line that its mask hides as a whole depends on the scores";
    if (const auto it = differences_.find(node); it != differences_.end()) return it->second;
    const Node* result = function ? function->result() : node;
    if (!is_marked(result))
      for (Node* input : values_of(graph_, function ? function->reader : node))
        if (!come_from_marked(graph_, std::span(&input, 1)) && input->kind != Node::Kind::tensor)
          return str("its input '", input->name, "' is float");
    if (!wanted_as_integer(result)) return "no integer layer reads its result";
    return "its configuration keeps it float";
  }

  void report(LayerReport entry, const Node* node, bool integer) {
    if (entry.type.empty() || sizes_.contains(node)) return;
    if (effect_of(graph_, node) != Effect::none && !is_clamp(graph_, node)) return;
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
  ValueFunctions functions_;
  ConversionReport* report_;
  CommonWeights common_weights_;
  IntegerTables tables_;
  std::unordered_set<const Node*> wanted_, wanted_only_, trained_, sizes_, masks_added_, uneven_masks_;
  std::unordered_map<const Node*, TensorQParams> qparams_;                      // of observed values
  std::unordered_map<const Node*, TensorQParams> integers_;                     // of nodes that give integers
  std::unordered_map<const Node*, LayerReport> reports_;                        // of what stays float
  std::unordered_map<const Node*, std::string> differences_, table_obstacles_;  // that stay float, and why
  std::unordered_map<const Node*, Node*> quantized_, dequantized_;
  std::unordered_map<const Node*, std::pair<int, int>> bits_;  // of weights and activations of converted nodes
};

}  // namespace

nn::Graph convert(const nn::Graph& prepared, ConversionReport* report) {
  check<ValueError>(
      std::ranges::any_of(prepared.nodes(), [](const Node* node) { return is_marked(node) || is_marked_table(node); }),
      "convert: the graph was not prepared; give what prepare() or prepare_qat() made of it and has seen ",
      "calibration data");
  return Converter(prepared, report).run();
}

}  // namespace thimble::quant
