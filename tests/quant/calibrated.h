// What tests of the passes that improve a prepared graph share.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

/// Convolutions of all kinds and a linear layer; some have no bias.
struct SmallNet : nn::Module {
  nn::Submodule<nn::Conv2d> conv1{this, "conv1", 3, 8, 3, {.padding = 1}};
  nn::Submodule<nn::Conv2d> depthwise{this, "depthwise", 8, 8, 3, {.padding = 1, .groups = 8}};
  nn::Submodule<nn::Conv2d> conv2{this, "conv2", 8, 12, 3, {.padding = 1, .groups = 2, .bias = false}};
  nn::Submodule<nn::Linear> fc1{this, "fc1", 108, 24}, fc2{this, "fc2", 24, 5, {.bias = false}};

  Tensor forward(const Tensor& x) override {
    Tensor h = relu(conv2(max_pool2d(relu(depthwise(relu(conv1(x)))), 2)));
    return fc2(relu(fc1(flatten(h, 1))));
  }
};

/// A network, and images for it.
class CalibratedTest : public testing::Test {
 protected:
  CalibratedTest() {
    manual_seed(3);
    SmallNet net;
    batches = {images(48), images(16), images(32)};
    fused = fuse_conv_bn_relu(nn::trace(net.eval(), batches[0]));
    held_out = images(64);
  }

  /// Mixtures of a few patterns, as pixels of pictures are related to each other, with a mean that is not 0.
  Tensor images(int64_t n) {
    const Tensor mixture = rand({n, 6}, generator);
    const Tensor noise = randn({n, 3, 6, 6}, generator);
    return (reshape(matmul(mixture, patterns), {n, 3, 6, 6}) + 0.1 * noise).detach();
  }

  static QConfigMapping bits(int weight, int activation = 8) {
    QConfig config;
    config.weight.bits = weight;
    config.activation.bits = activation;
    return QConfigMapping().set_global(config);
  }

  Graph calibrated(const QConfigMapping& mapping) const {
    Graph prepared = prepare(fused, mapping);
    for (const Tensor& batch : batches) prepared(batch);
    return prepared;
  }

  /// Of the graph's output on images that no pass has seen, against the float network's.
  Tensor error(Graph& graph) {
    const NoGrad guard;
    Graph original = fused.clone();
    return graph(held_out) - original(held_out);
  }
  double mean_squared_error(Graph& graph) {
    const Tensor e = error(graph);
    return mean(e * e).item<double>();
  }

  /// Calls f, and expects the graph to be as it was.
  template <typename F>
  static auto unchanged(const Graph& graph, F&& f) {
    const Graph before = graph.clone();
    auto result = f();
    expect_same(graph, before);
    return result;
  }

  static void expect_same(const Graph& graph, const Graph& expected) {
    EXPECT_EQ(graph.table(), expected.table());
    EXPECT_EQ(attributes_of(graph), attributes_of(expected));
    const auto arrays = arrays_of(expected);
    for (const auto& [name, array] : arrays_of(graph))
      EXPECT_EQ(array.to_vector<double>(), arrays.at(name).to_vector<double>()) << name;
  }

  static std::string attributes_of(const Graph& graph) {
    std::string all;
    for (const Node* node : graph.nodes()) all += str(node->name, ": ", node->attributes, '\n');
    return all;
  }

  Generator generator{5};
  Tensor patterns = randn({6, 3 * 6 * 6}, generator);
  Graph fused;
  std::vector<Tensor> batches;
  Tensor held_out;
};

}  // namespace thimble::quant
