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
#include "tests/quant/at_own_ranges.h"
#include "tests/quant/reading.h"
#include "tests/serialization/files.h"
#include <thimble/nn/graph/passes.h>
#include <thimble/quant/passes/as_convolutions.h>
#include <thimble/quant/passes/node_roles.h>
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
    if (!wants_integers(as_convolutions(graph), QConfigMapping::static_int8())) continue;
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
                                                {"QuantizedSub", 4},
                                                {"QuantizedMaximum", 4},
                                                {"QuantizedMinimum", 4},
                                                {"QuantizedTable", 100},
                                                {"QuantizedScale", 40},
                                                {"QuantizedMatMul", 80},
                                                {"QuantizedSoftmax", 40},
                                                {"QuantizedLayerNorm", 10},
                                                {"QuantizedGroupNorm", 4},
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
                                                {"interpolate", 3},
                                                {"max_pool2d", 3},
                                                {"avg_pool2d", 3},
                                                {"Dequantize", 10},
                                                {"pure", 90}};
  for (const auto& [kind, count] : enough) EXPECT_GE(seen[kind], count) << kind;
}

TEST_F(RandomGraphs, KeepEachValueAsGoodAsItsOwnRangeDoes) {
  const NoGrad guard;
  uint64_t quantized_graphs = 0;
  for (uint64_t seed = 0; seed < count(); ++seed) {
    nn::RandomModel model(seed);
    const Graph fused = as_convolutions(nn::eliminate_dead_nodes(nn::trace(model, model.example())));
    if (!wants_integers(fused, QConfigMapping::static_int8())) continue;
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
