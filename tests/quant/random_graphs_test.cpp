// The whole way, of random models: trace, fuse, prepare, calibrate, convert, run everywhere, save, load.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <unordered_map>

#include <gtest/gtest.h>

#include "tests/nn/random_model.h"
#include "tests/quant/reading.h"
#include "tests/serialization/files.h"
#include <thimble/nn/graph/passes.h>
#include <thimble/quant/passes/as_convolutions.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/softmax_inputs.h>
#include <thimble/quant/passes/value_functions.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::quant {
namespace {

// Integer weights and biases are the float layer's, to within half a step, channel by channel.
void expect_same_weights(const Graph& fused, const Graph& int8) {
  for (const Node* node : int8.nodes()) {
    const auto* product = int8.layer_as<IntegerProduct>(node);
    if (!product) continue;
    const auto floats = arrays_of(fused.layer(fused.find(node->name))), integers = arrays_of(*product);
    const auto weight = floats.at("weight").to_vector<double>(), q = integers.at("weight").to_vector<double>();
    const auto scale = integers.at("weight_scale").to_vector<double>();
    const size_t row = weight.size() / scale.size();
    for (size_t i = 0; i < weight.size(); ++i)
      ASSERT_NEAR(q[i] * scale[i / row], weight[i], 0.501 * scale[i / row]) << node->name << ", weight " << i;
    if (!floats.contains("bias")) continue;
    const auto bias = floats.at("bias").to_vector<double>(), qb = integers.at("bias").to_vector<double>();
    for (size_t c = 0; c < bias.size(); ++c) {
      const double step = scale[c] * double{product->quantization().input.scale};
      ASSERT_NEAR(qb[c] * step, bias[c], 0.501 * step + 1e-6 * std::abs(bias[c])) << node->name << ", bias " << c;
    }
  }
}

// Between integer layers flow integers: no value that was an integer is made one again.
void expect_integers_between(const Graph& graph) {
  for (const Node* node : graph.nodes()) {
    if (!graph.is_layer(node, "Quantize")) continue;
    EXPECT_FALSE(graph.is_layer(node->inputs[0], "Dequantize")) << node->name;
  }
}

// The part of the graph in which nothing is computed in floats, from the inputs on; none if there is no such part.
std::optional<Graph> part_of_integers(const Graph& graph, const Reading& reading) {
  std::set<const Node*> pure, read;
  for (const Node* node : graph.nodes()) {
    const bool begins = node->kind == Node::Kind::input || node->kind == Node::Kind::tensor;
    const bool integer = reading.is_integer(node) || graph.layer_as<IntegerProduct>(node);
    const auto is_pure = [&](const Node* input) { return pure.contains(input); };
    if (!begins && !(integer && std::ranges::all_of(node->inputs, is_pure))) continue;
    pure.insert(node);
    read.insert(node->inputs.begin(), node->inputs.end());
  }
  Graph part = graph.clone();
  std::vector<nn::GraphOutput> outputs;
  for (const Node* node : graph.nodes())
    if (pure.contains(node) && !read.contains(node) && !node->inputs.empty() && !graph.is_layer(node, "Quantize"))
      outputs.push_back({node->name, part.find(node->name)});
  if (outputs.empty()) return std::nullopt;
  part.set_outputs(outputs);
  part.eliminate_dead_nodes();
  return part;
}

using Answers = std::vector<std::vector<float>>;  // of each output

Answers answers_of(std::span<const Tensor> outputs) {
  Answers answers;
  for (const Tensor& output : outputs) answers.push_back(output.data().to_vector<float>());
  return answers;
}

Answers answers_of(Graph& graph, const Tensor& x) { return answers_of(graph.forward_outputs(std::span(&x, 1))); }

Answers answers_node_by_node(Graph& graph, const Tensor& x) {
  const std::vector<Tensor> values = graph.run_all(std::span(&x, 1));
  const std::vector<Node*> nodes = graph.nodes();
  std::vector<Tensor> outputs;
  for (const nn::GraphOutput& output : graph.outputs())
    outputs.push_back(values[static_cast<size_t>(std::ranges::find(nodes, output.node) - nodes.begin())]);
  return answers_of(outputs);
}

void expect_same_bits_everywhere(Graph& graph, const NDArray& data) {
  const Answers expected = answers_of(graph, data);
  EXPECT_EQ(answers_node_by_node(graph, data), expected) << "node by node";
  const NoGrad guard;
  on_every_machine([&] {
    EXPECT_EQ(answers_of(graph, data), expected);
    for (const int64_t split : {1, 3}) {
      Answers all(expected.size());
      for (int64_t at = 0; at < data.shape(0); at += split) {
        const Answers piece = answers_of(graph, data.slice(0, at, at + split));
        for (size_t i = 0; i < piece.size(); ++i) all[i].insert(all[i].end(), piece[i].begin(), piece[i].end());
      }
      EXPECT_EQ(all, expected) << "batches of " << split;
    }
  });
}

// Those whose inputs follow from floats, too, which differ in their last digits.
void expect_same_bits_of_each_layer(Graph& graph, const NDArray& data) {
  const NoGrad guard;
  const std::vector<Tensor> values = graph.run_all(std::vector<Tensor>{data});
  const std::vector<Node*> nodes = graph.nodes();
  std::unordered_map<const Node*, Tensor> value_of;
  for (size_t i = 0; i < nodes.size(); ++i) value_of[nodes[i]] = values[i];
  on_every_machine([&] {
    for (const Node* node : nodes) {
      if (!is_integer_layer(graph, node)) continue;
      std::vector<Tensor> inputs;
      for (const Node* input : node->inputs) inputs.push_back(value_of.at(input));
      EXPECT_EQ(graph.layer(node).call(inputs).data().to_vector<float>(), value_of.at(node).data().to_vector<float>())
          << node->name;
    }
  });
}

// The float graph with each value that is an integer somewhere fake-quantized at its own range, and the weights and
// biases of the integer layers.
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
    add_masks(result);
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
    if (node->kind == Node::Kind::tensor && masks_out(value)) return clamp(value, -100).data();
    const Node* softmax = only_softmax_behind(graph_, node);
    return softmax ? SoftmaxRange(softmax->attributes.get<int64_t>("axis")).forward(value).data() : value.data();
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
    if (only_softmax_behind(graph_, node) || is_masking(graph_, users[0])) return true;
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
      inputs.push_back(rounds ? Tensor(rounded(input)) : values_.at(input));
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

class RandomGraphs : public QuantizeTest {
 protected:
  // THIMBLE_RANDOM_GRAPHS=20000 is for long runs.
  static uint64_t count() {
    const char* wanted = std::getenv("THIMBLE_RANDOM_GRAPHS");
    return wanted ? std::strtoull(wanted, nullptr, 10) : 300;
  }

  static nn::Graph reloaded(const Graph& graph, const TempFolder& folder) {
    save_model(graph, folder / "model.safetensors");
    return load_model(folder / "model.safetensors");
  }
};

TEST_F(RandomGraphs, OfLayersAndOpsAreRightInIntegers) {
  const TempFolder folder;
  std::map<std::string, int> seen;
  std::vector<double> signals;  // above the noise, in dB
  for (uint64_t seed = 0; seed < count(); ++seed) {
    nn::RandomModel model(seed);
    const Graph graph = nn::trace(model, model.example());
    SCOPED_TRACE(str("seed ", seed, "\n", graph.table()));
    if (!wants_products(as_convolutions(graph), QConfigMapping::static_int8())) continue;
    Generator generator(seed);
    data = model.input(8, generator).data();
    Converted result;
    ASSERT_NO_THROW(result = quantized(graph));  // which seed it was, if it does
    SCOPED_TRACE(result.graph.table());

    const Reading reading(result.graph, Tensor(data));
    for (const Node* node : result.graph.nodes()) {
      reading.expect_right(node);
      if (node->kind == Node::Kind::layer) ++seen[result.graph.layer(node).type()];
      if (node->kind == Node::Kind::op && reading.is_integer(node)) ++seen[node->target];
    }
    expect_same_weights(as_convolutions(graph), result.graph);
    expect_integers_between(result.graph);
    // -infinity: the model gives nothing but zeros.
    if (const double signal = sqnr(graph, result); std::isfinite(signal)) signals.push_back(signal);

    if (std::optional<Graph> integers = part_of_integers(result.graph, reading)) {
      expect_same_bits_everywhere(*integers, data);
      ++seen["pure"];
    }
    expect_same_bits_of_each_layer(result.graph, data);
    Graph loaded = reloaded(result.graph, folder);
    EXPECT_EQ(loaded.table(), result.graph.table());
    EXPECT_EQ(loaded(Tensor(data)).data().to_vector<float>(), result.graph(Tensor(data)).data().to_vector<float>());
    if (HasFailure()) break;
  }
  // Sums that cancel, rows of equal numbers that are normalized: a few models make the noise loud.
  std::ranges::sort(signals);
  EXPECT_GT(signals[signals.size() / 50], 20);
  EXPECT_GT(std::accumulate(signals.begin(), signals.end(), 0.0) / static_cast<double>(signals.size()), 45);
  const std::pair<const char*, int> enough[] = {{"QuantizedConv2d", 300},
                                                {"QuantizedLinear", 300},
                                                {"QuantizedAdd", 50},
                                                {"QuantizedMul", 8},
                                                {"QuantizedTable", 100},
                                                {"QuantizedScale", 40},
                                                {"QuantizedMatMul", 80},
                                                {"QuantizedSoftmax", 40},
                                                {"QuantizedLayerNorm", 10},
                                                {"QuantizedMean", 8},
                                                {"QuantizedClamp", 10},
                                                {"Requantize", 40},
                                                {"concat", 40},
                                                {"slice", 60},
                                                {"permute", 100},
                                                {"flatten", 20},
                                                {"pad", 3},
                                                {"pixel_shuffle", 3},
                                                {"upsample_nearest2d", 2},
                                                {"max_pool2d", 3},
                                                {"avg_pool2d", 3},
                                                {"Dequantize", 10},
                                                {"pure", 100}};
  for (const auto& [kind, count] : enough) EXPECT_GE(seen[kind], count) << kind;
}

TEST_F(RandomGraphs, KeepEachValueAsGoodAsItsOwnRangeDoes) {
  const NoGrad guard;
  uint64_t quantized_graphs = 0;
  for (uint64_t seed = 0; seed < count(); ++seed) {
    nn::RandomModel model(seed);
    const Graph fused = as_convolutions(nn::eliminate_dead_nodes(nn::trace(model, model.example())));
    if (!wants_products(fused, QConfigMapping::static_int8())) continue;
    SCOPED_TRACE(str("seed ", seed, "\n", fused.table()));
    Generator generator(seed);
    data = model.input(64, generator).data();
    Converted result;
    ASSERT_NO_THROW(result = quantized(fused));
    SCOPED_TRACE(result.graph.table());
    const Reading reading(result.graph, Tensor(data));
    AtOwnRanges(fused, result.graph, reading, Tensor(data)).expect_as_good();
    ++quantized_graphs;
    if (HasFailure()) break;
  }
  EXPECT_GE(quantized_graphs, count() / 2);
}

}  // namespace
}  // namespace thimble::quant
