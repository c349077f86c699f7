// The whole way, of random models: trace, fuse, prepare, calibrate, convert, run everywhere, save, load.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include <gtest/gtest.h>

#include "tests/nn/random_model.h"
#include "tests/quant/conversion.h"
#include "tests/serialization/files.h"
#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::quant {
namespace {

NDArray in_doubles(const NDArray& q, const TensorQParams& p) {
  auto values = q.to_vector<double>();
  for (double& v : values) v = (v - p.zero_point) * double{p.scale};
  return NDArray::from_vector(values, q.shape());
}

// What a graph of integers says that its values are, by the parameters of whoever made each value.
class Reading {
 public:
  Reading(Graph& graph, const Tensor& x) : graph_(graph) {
    const std::vector<Tensor> values = graph.run_all(std::vector<Tensor>{x});
    const std::vector<Node*> nodes = graph.nodes();
    for (size_t i = 0; i < nodes.size(); ++i) {
      const NDArray value = values[i].data();
      if (value.dtype() == DType::uint8) qparams_[nodes[i]] = parameters_of(nodes[i]);
      numbers_[nodes[i]] = value.dtype() == DType::uint8 ? in_doubles(value, qparams_.at(nodes[i])) : value;
    }
  }

  bool is_integer(const Node* node) const { return qparams_.contains(node); }
  const TensorQParams& qparams(const Node* node) const { return qparams_.at(node); }

  // The node's value, and what it should be, computed in float64 from the values that it reads.
  void expect_right(const Node* node) const {
    std::vector<Tensor> inputs;
    for (const Node* input : node->inputs) inputs.emplace_back(numbers_.at(input).to(DType::float64));
    if (inputs.empty() || (!is_integer(node) && !is_product(node))) return;
    const auto got = numbers_.at(node).to_vector<double>();
    auto expected = right_answer(node, inputs).data().to_vector<double>();
    ASSERT_EQ(got.size(), expected.size());
    double tolerance = 1e-5 * largest(expected) + 1e-30;
    if (is_integer(node)) {
      const TensorQParams& p = qparams_.at(node);
      // A step at most between rounding here and there, of half of which the scale is the unit.
      tolerance = 0.501 * double{p.scale} + 1e-5 * largest(got);
      for (double& v : expected)
        v = std::clamp(v, (0 - p.zero_point) * double{p.scale}, (p.qmax() - p.zero_point) * double{p.scale});
    }
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], expected[i], tolerance) << node->name << ", element " << i;
  }

 private:
  bool is_product(const Node* node) const { return graph_.layer_as<IntegerProduct>(node) != nullptr; }

  static double largest(const std::vector<double>& values) {
    double most = 0;
    for (const double v : values) most = std::max(most, std::abs(v));
    return most;
  }

  TensorQParams parameters_of(const Node* node) const {
    if (const auto* product = graph_.layer_as<IntegerProduct>(node)) return *product->quantization().output;
    if (graph_.is_layer(node, "Quantize")) return TensorQParams::from_attributes(graph_.layer(node).attributes(), "");
    if (graph_.is_layer(node, "QuantizedAdd") || graph_.is_layer(node, "Requantize"))
      return TensorQParams::from_attributes(graph_.layer(node).attributes(), "output_");
    for (const Node* input : node->inputs)
      EXPECT_EQ(qparams_.at(input), qparams_.at(node->inputs[0])) << node->name << " mixes parameters";
    return qparams_.at(node->inputs[0]);
  }

  Tensor right_answer(const Node* node, const std::vector<Tensor>& x) const {
    if (const auto* product = graph_.layer_as<IntegerProduct>(node)) {
      const auto arrays = arrays_of(*product);
      Shape per_channel = Shape::filled(arrays.at("weight").ndim(), 1);
      per_channel[0] = arrays.at("weight").shape(0);
      const Tensor scale = arrays.at("weight_scale").to(DType::float64);
      const Tensor weight = Tensor(arrays.at("weight").to(DType::float64)) * reshape(scale, per_channel);
      const Tensor bias =
          Tensor(arrays.at("bias").to(DType::float64)) * scale * double{product->quantization().input.scale};
      const auto* conv = graph_.layer_as<QuantizedConv2d>(node);
      const Tensor y = conv ? conv2d(x[0], weight, bias, conv->options()) : linear(x[0], weight, bias);
      return product->quantization().relu ? relu(y) : y;
    }
    for (const char* same : {"Quantize", "Requantize", "Dropout"})
      if (graph_.is_layer(node, same)) return x[0];
    if (graph_.is_layer(node, "QuantizedAdd")) {
      const Tensor y = x[0] + x[1];
      return graph_.layer(node).attributes().get<bool>("relu") ? relu(y) : y;
    }
    if (graph_.is_layer(node, "QuantizedClamp")) return relu(x[0]);  // the only clamp of these models
    return apply(op_factory(node->target)(node->attributes), x);
  }

  Graph& graph_;
  std::unordered_map<const Node*, TensorQParams> qparams_;
  std::unordered_map<const Node*, NDArray> numbers_;
};

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

// The part of the graph in which all is integer, from the inputs on, with this node as output.
Graph up_to(const Graph& graph, const Node* node) {
  Graph part = graph.clone();
  part.set_output(part.find(node->name));
  part.eliminate_dead_nodes();
  return part;
}

// The last of the nodes for which nothing is computed in floats.
const Node* last_of_integers(const Graph& graph, const Reading& reading) {
  const Node* last = nullptr;
  std::set<const Node*> pure;
  for (const Node* node : graph.nodes()) {
    const bool begins = node->kind == Node::Kind::input;
    const bool integer = reading.is_integer(node) || graph.layer_as<IntegerProduct>(node);
    const bool goes_on = !node->inputs.empty() &&
                         std::ranges::all_of(node->inputs, [&](const Node* input) { return pure.contains(input); });
    if (!begins && !(integer && goes_on)) continue;
    pure.insert(node);
    if (!begins && !graph.is_layer(node, "Quantize")) last = node;
  }
  return last;
}

void expect_same_bits_everywhere(Graph& graph, const NDArray& data) {
  const auto expected = graph(Tensor(data)).data().to_vector<float>();
  EXPECT_EQ(graph.run_all(std::vector<Tensor>{data}).back().data().to_vector<float>(), expected) << "node by node";
  const NoGrad guard;
  on_every_machine([&] {
    EXPECT_EQ(graph(Tensor(data)).data().to_vector<float>(), expected);
    for (const int64_t split : {1, 3}) {
      std::vector<float> pieces;
      for (int64_t at = 0; at < data.shape(0); at += split)
        for (const float v : graph(Tensor(data.slice(0, at, at + split))).data().to_vector<float>())
          pieces.push_back(v);
      EXPECT_EQ(pieces, expected) << "batches of " << split;
    }
  });
}

class RandomGraphs : public QuantizeTest {
 protected:
  static nn::Graph reloaded(const Graph& graph, const TempFolder& folder) {
    save_model(graph, folder / "model.safetensors");
    return load_model(folder / "model.safetensors");
  }
};

TEST_F(RandomGraphs, OfLayersAndOpsAreRightInIntegers) {
  const TempFolder folder;
  std::map<std::string, int> seen;
  std::vector<double> signals;  // above the noise, in dB
  for (uint64_t seed = 0; seed < 300; ++seed) {
    nn::RandomModel model(seed);
    const Graph graph = nn::trace(model, model.example());
    SCOPED_TRACE(str("seed ", seed, "\n", graph.table()));
    Generator generator(seed);
    data = model.input(8, generator).data();
    Converted result = quantized(graph);
    SCOPED_TRACE(result.graph.table());

    const Reading reading(result.graph, Tensor(data));
    for (const Node* node : result.graph.nodes()) {
      reading.expect_right(node);
      if (node->kind == Node::Kind::layer) ++seen[result.graph.layer(node).type()];
      if (node->kind == Node::Kind::op && reading.is_integer(node)) ++seen[node->target];
    }
    expect_same_weights(fuse_conv_bn_relu(graph), result.graph);
    expect_integers_between(result.graph);
    // -infinity: the model gives nothing but zeros.
    if (const double signal = sqnr(graph, result); std::isfinite(signal)) signals.push_back(signal);

    if (const Node* last = last_of_integers(result.graph, reading)) {
      Graph integers = up_to(result.graph, last);
      expect_same_bits_everywhere(integers, data);
      ++seen["pure"];
    }
    Graph loaded = reloaded(result.graph, folder);
    EXPECT_EQ(loaded.table(), result.graph.table());
    EXPECT_EQ(loaded(Tensor(data)).data().to_vector<float>(), result.graph(Tensor(data)).data().to_vector<float>());
    if (HasFailure()) break;
  }
  EXPECT_GT(*std::ranges::min_element(signals), 20);
  EXPECT_GT(std::accumulate(signals.begin(), signals.end(), 0.0) / static_cast<double>(signals.size()), 45);
  const std::pair<const char*, int> enough[] = {{"QuantizedConv2d", 300},
                                                {"QuantizedLinear", 300},
                                                {"QuantizedAdd", 15},
                                                {"QuantizedClamp", 5},
                                                {"Requantize", 1},
                                                {"concat", 5},
                                                {"max_pool2d", 5},
                                                {"avg_pool2d", 3},
                                                {"flatten", 20},
                                                {"Dequantize", 10},
                                                {"pure", 100}};
  for (const auto& [kind, count] : enough) EXPECT_GE(seen[kind], count) << kind;
}

}  // namespace
}  // namespace thimble::quant
