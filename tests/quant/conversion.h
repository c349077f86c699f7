// What tests of the quantization of graphs share.
#pragma once

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

/// A quantized graph and what was told of it.
struct Converted {
  Graph graph;
  ConversionReport report;

  const LayerReport& layer(const std::string& name) const {
    for (const LayerReport& entry : report)
      if (entry.name == name) return entry;
    ADD_FAILURE() << "no report of " << name;
    static const LayerReport none;
    return none;
  }
  int count(std::string_view type) const {
    int found = 0;
    for (const Node* node : graph.nodes()) found += graph.is_layer(node, type) || graph.is_op(node, type);
    return found;
  }
};

/// Quantizes random models.
class QuantizeTest : public testing::Test {
 protected:
  Graph traced(nn::Module& model, const Shape& shape = {16, 8}) {
    manual_seed(1);
    for (Tensor p : model.parameters()) p.mutable_data().copy_from(random_normal(p.shape(), rng, 0.5f));
    data = random_normal(shape, rng);
    return nn::trace(model.eval(), Tensor(data));
  }

  Converted quantized(const Graph& graph, const QConfigMapping& mapping = QConfigMapping::static_int8()) {
    const std::string before = graph.table();
    const auto arrays = arrays_of(graph);
    Converted result;
    result.graph = quantize_model(
        graph, [&](Graph& prepared) { prepared(Tensor(data)); }, mapping, &result.report);
    EXPECT_EQ(graph.table(), before) << "the input graph was changed";
    for (const auto& [name, array] : arrays_of(graph))
      EXPECT_EQ(array.to_vector<float>(), arrays.at(name).to_vector<float>());
    return result;
  }

  // Signal to quantization noise, in dB.
  double sqnr(const Graph& graph, Converted& result) {
    Graph original = graph.clone();
    original.eval();
    const auto y = original(Tensor(data)).data().to_vector<double>();
    const auto q = result.graph(Tensor(data)).data().to_vector<double>();
    EXPECT_EQ(y.size(), q.size());
    double signal = 0, noise = 1e-30;
    for (size_t i = 0; i < y.size(); ++i) {
      signal += y[i] * y[i];
      noise += (y[i] - q[i]) * (y[i] - q[i]);
    }
    return 10 * std::log10(signal / noise);
  }

  // Runs the graph node by node: every integer layer against the nested loops, and every value that an integer layer
  // reads is uint8.
  void expect_integers(Graph& graph) {
    const std::vector<Node*> nodes = graph.nodes();
    const std::vector<Tensor> values = graph.run_all(std::vector<Tensor>{data});
    std::map<const Node*, Tensor> value_of;
    for (size_t i = 0; i < nodes.size(); ++i) value_of[nodes[i]] = values[i];
    for (const Node* node : nodes) {
      if (!graph.layer_as<IntegerProduct>(node)) continue;
      const NDArray x = value_of[node->inputs[0]].data();
      ASSERT_EQ(x.dtype(), DType::uint8) << node->name;
      const auto* conv = graph.layer_as<QuantizedConv2d>(node);
      EXPECT_EQ(value_of[node].data().to_vector<float>(),
                conv ? reference_conv2d(*conv, x)
                     : reference_linear(*graph.layer_as<QuantizedLinear>(node), x.to_vector<uint8_t>()))
          << node->name;
    }
    EXPECT_EQ(value_of[graph.output()].dtype(), DType::float32);
  }

  // The same bits on every machine and however the batch is split.
  void expect_deterministic(Graph& graph) {
    const auto expected = graph(Tensor(data)).data().to_vector<float>();
    on_every_machine([&] {
      EXPECT_EQ(graph(Tensor(data)).data().to_vector<float>(), expected);
      for (const int64_t split : {1, 3, 7}) {
        std::vector<float> pieces;
        for (int64_t at = 0; at < data.shape(0); at += split)
          for (const float v : graph(Tensor(data.slice(0, at, at + split))).data().to_vector<float>())
            pieces.push_back(v);
        EXPECT_EQ(pieces, expected) << "batches of " << split;
      }
    });
  }

  std::mt19937 rng{1};
  NDArray data;
};

}  // namespace thimble::quant
