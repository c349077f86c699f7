// What integers should be as good as: every value at its own range.
#pragma once

#include <algorithm>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "tests/quant/reading.h"
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/softmax_inputs.h>
#include <thimble/quant/passes/value_functions.h>

namespace thimble::quant {

/// The float graph with each value that is an integer somewhere fake-quantized at its own range, and the weights and
/// biases of the integer layers.
class AtOwnRanges {
 public:
  AtOwnRanges(const Graph& fused, const Graph& int8, const Reading& reading, const Tensor& x)
      : graph_(with_added_masks(fused)), functions_(graph_), int8_(int8), reading_(reading), x_(x) {
    graph_.eval();
    const std::vector<Tensor> values = graph_.run_all(std::span(&x, 1));
    const std::vector<Node*> nodes = graph_.nodes();
    for (size_t i = 0; i < nodes.size(); ++i) floats_[nodes[i]] = what_counts(nodes[i], values[i]);
    for (const Node* node : nodes) take_weights(node);
    compute();
  }

  // No value's signal is more than 3 dB less above the noise than here. A value that one concatenation or clamp alone
  // reads is what that makes of it, and softmax cuts off what it does not need.
  void expect_as_good() {
    for (const Node* node : graph_.nodes()) {
      const Node* twin = twin_of(node);
      if (twin && reading_.is_integer(twin) && !becomes_another(node)) expect_as_good(node, reading_.numbers(twin));
    }
  }

 private:
  static Graph with_added_masks(const Graph& graph) {
    Graph result = graph.clone();
    AddedMasks added(result);
    for (Node* node : result.nodes())
      if (const auto masking = masking_of(result, node); masking && masking->fill != 0) added.replace(node);
    result.eliminate_dead_nodes();
    return result;
  }

  // That few different numbers are all rounded by little is luck, which other ranges, a few percent wider, do not have:
  // a test of ranks. Were the noise found one that ranges of its own make, it would be the largest of kDraws such
  // noises once in kDraws times, and kMost times as large far less often.
  void expect_as_good(const Node* node, const NDArray& integers) {
    constexpr double kMost = 2;  // 3 dB
    constexpr int kDraws = 400;
    const auto exact = floats_.at(node).to_vector<double>();
    const double found = noise(exact, integers), step = own_qparams(node).scale[0];
    double expected = std::max(noise(exact, rounded(node)), step * step / 12);
    for (int i = 0; i < kDraws && found > kMost * expected; ++i) {
      compute();
      expected = std::max(expected, noise(exact, rounded(node)));
    }
    EXPECT_LE(found, kMost * expected) << node->name << ", steps of " << step;
  }

  // In front of softmax, see softmax_inputs.h.
  NDArray what_counts(const Node* node, const Tensor& value) const {
    if (node->kind == Node::Kind::tensor && masks_out(value.data())) return clamp(value, -100).data();
    const Node* softmax = only_softmax_behind(graph_, node);
    return softmax ? SoftmaxRange(softmax->attributes.get<int64_t>("axis")).forward(value).data() : value.data();
  }

  static bool masks_out(const NDArray& constant) {
    return std::ranges::any_of(constant.to_vector<double>(), [](double v) { return v < -1000; });
  }

  static double noise(const std::vector<double>& exact, const NDArray& value) {
    const auto got = value.to_vector<double>();
    double sum = 0;
    for (size_t i = 0; i < exact.size(); ++i) sum += (got[i] - exact[i]) * (got[i] - exact[i]);
    return sum / static_cast<double>(exact.size());
  }

  // A clamp that was left out is its input's value.
  const Node* twin_of(const Node* node) const {
    if (is_inside_of_table(node)) return nullptr;
    const Node* twin = int8_.find(node->name);
    return twin || !is_clamp(graph_, node) ? twin : twin_of(node->inputs[0]);
  }

  bool is_inside_of_table(const Node* node) const {
    const ValueFunction* function = functions_.around(node);
    if (!function || function->result() == node) return false;
    const Node* twin = int8_.find(function->result()->name);
    return twin && (int8_.is_layer(twin, "QuantizedTable") || int8_.is_layer(twin, "QuantizedScale"));
  }

  bool becomes_another(const Node* node) const {
    const std::vector<Node*> users = graph_.users(node);
    if (node == graph_.output() || users.empty()) return false;
    if (const ValueFunction* function = functions_.around(users[0]))  // which cuts off what it does not need
      return function->source() == node && alone_reads_source(graph_, *function);
    if (users.size() != 1) return false;
    if (is_clamp(graph_, users[0]) || is_concat(graph_, users[0])) return true;
    if (only_softmax_behind(graph_, node) || masking_of(graph_, users[0])) return true;
    const Effect effect = effect_of(graph_, users[0]);
    return (effect == Effect::moves || effect == Effect::selects) && becomes_another(users[0]);
  }

  void take_weights(const Node* node) {
    const Node* twin = int8_.find(node->name);
    const auto* product = twin ? int8_.layer_as<IntegerProduct>(twin) : nullptr;
    if (!product) return;
    weight_of(graph_, node).set_data(product->weights().dequantized());
    if (!bias_of(graph_, node).defined()) return;
    auto bias = arrays_of(*product).at("bias").to_vector<double>();
    for (size_t c = 0; c < bias.size(); ++c)
      bias[c] *= double{product->quantization().input.scale} * double{product->weights().steps()[c]};
    bias_of(graph_, node).set_data(NDArray::from_vector(bias).to(DType::float32));
  }

  void compute() {
    qparams_.clear();
    for (const Node* node : graph_.nodes()) values_[node] = value_of(node);
  }

  bool reads_integers(const Node* reader) const {
    const Node* twin = twin_of(reader);
    return twin && (reading_.is_integer(twin) || int8_.layer_as<IntegerProduct>(twin));
  }

  Tensor value_of(const Node* node) {
    if (node->kind == Node::Kind::input) return x_;
    if (node->kind == Node::Kind::tensor) return graph_.tensor(node);
    std::vector<Tensor> inputs;
    for (const Node* input : node->inputs) {
      const Node* twin = twin_of(input);
      const bool rounds = (reads_integers(node) && !is_inside_of_table(input)) || (twin && reading_.is_integer(twin));
      const bool is_number = values_.at(input).dtype() == DType::float32;
      inputs.push_back(rounds && is_number ? Tensor(rounded(input)) : values_.at(input));
    }
    if (node->kind == Node::Kind::layer) return graph_.layer(node).call(inputs);
    return apply(op_factory(node->target)(node->attributes), inputs);
  }

  // At a range that is at most a tenth wider than the value. The mean of integers, and integers between bounds, have
  // the parameters of those, wherever they come from.
  const QParams& own_qparams(const Node* node) {
    if (const Node* twin = twin_of(node);
        twin && reading_.is_integer(twin) &&
        (effect_of(graph_, node) == Effect::averages || int8_.is_layer(twin, "QuantizedClamp")))
      while (effect_of(graph_, node) != Effect::none) node = node->inputs[0];
    if (const auto it = qparams_.find(node); it != qparams_.end()) return it->second;
    const Range range = min_max(floats_.at(node), {});
    const auto wider = static_cast<float>(1 + 0.1 * generator_.uniform());
    return qparams_[node] = choose_qparams(std::min(range.min[0], 0.0f) * wider, std::max(range.max[0], 0.0f) * wider);
  }

  NDArray rounded(const Node* node) {
    const QParams& p = own_qparams(node);
    return dequantize(quantize(values_.at(node).data(), p), p);
  }

  Graph graph_;
  ValueFunctions functions_;
  const Graph& int8_;
  const Reading& reading_;
  Tensor x_;
  Generator generator_{1};
  std::unordered_map<const Node*, NDArray> floats_;
  std::unordered_map<const Node*, Tensor> values_;
  std::unordered_map<const Node*, QParams> qparams_;
};

}  // namespace thimble::quant
