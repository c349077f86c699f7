// Encoders of nn::TransformerEncoderLayer as integers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reading.h"
#include "tests/serialization/files.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/transformer.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::quant {
namespace {

using EncoderLayer = nn::TransformerEncoderLayer;

// Two layers and a head over the mean of the tokens, which look at those before them if `masked`.
struct Encoder : nn::Module {
  Encoder(EncoderLayer::Options layer, bool masked)
      : encoder{this, "encoder", 16, 2, 2, nn::TransformerEncoder::Options{.layer = layer, .norm = layer.norm_first}},
        mask(masked ? register_buffer("mask", nn::causal_mask(6)) : Tensor()) {}
  nn::Submodule<nn::Linear> embed{this, "embed", 5, 16};
  nn::Submodule<nn::TransformerEncoder> encoder;
  nn::Submodule<nn::Linear> head{this, "head", 16, 4};
  Tensor mask;
  Tensor forward(const Tensor& x) override { return head(mean(encoder(embed(x), mask), {1})); }
};

class QuantizeEncoder : public QuantizeTest {
 protected:
  // Signal to noise on other sizes than those that the graph was traced and calibrated with.
  double noise_on(const Graph& graph, Converted& result, const Shape& shape) {
    data = random_normal(shape, rng);
    return sqnr(graph, result);
  }
};

TEST_F(QuantizeEncoder, IsIntegerFromEndToEnd) {
  for (const bool norm_first : {false, true}) {
    for (const bool masked : {false, true}) {
      const auto activation = norm_first ? EncoderLayer::Activation::gelu : EncoderLayer::Activation::relu;
      Encoder model({.dim_feedforward = 24, .activation = activation, .batch_first = true, .norm_first = norm_first},
                    masked);
      const Graph graph = traced(model, {9, 6, 5});
      Converted result = quantized(graph);
      SCOPED_TRACE(str(norm_first, masked, "\n", result.graph.table()));
      for (const LayerReport& layer : result.report)
        EXPECT_FALSE(layer.kept_float) << layer.name << ": " << layer.reason;
      EXPECT_EQ(result.count("QuantizedLinear"), 10);
      EXPECT_EQ(result.count("QuantizedMatMul"), 4);
      EXPECT_EQ(result.count("QuantizedSoftmax"), 2);
      EXPECT_EQ(result.count("QuantizedLayerNorm"), norm_first ? 5 : 4);
      EXPECT_EQ(result.count("Quantize"), 1);
      EXPECT_EQ(result.count("Dequantize"), 0);
      EXPECT_GT(sqnr(graph, result), 22);
      expect_deterministic(result.graph);
      EXPECT_GT(noise_on(graph, result, {1, 6, 5}), 15);
      EXPECT_GT(noise_on(graph, result, {20, 6, 5}), 20);
      if (masked) continue;  // for as many tokens as the mask
      EXPECT_GT(noise_on(graph, result, {3, 11, 5}), 15);
    }
  }
}

TEST_F(QuantizeEncoder, DynamicLayersTakeTheLinearOnes) {
  Encoder model({.dim_feedforward = 24, .batch_first = true}, false);
  const Graph graph = traced(model, {9, 6, 5});
  Converted result{quantize_dynamic(graph), {}};
  EXPECT_EQ(result.count("Linear") + result.count("LinearReLU"), 0) << result.graph.table();
  EXPECT_EQ(result.count("DynamicQuantizedLinear"), 10) << result.graph.table();
  EXPECT_GT(sqnr(graph, result), 30);
  EXPECT_GT(noise_on(graph, result, {2, 13, 5}), 30);
}

TEST_F(QuantizeEncoder, IsTheSameFromAFile) {
  Encoder model({.dim_feedforward = 24, .batch_first = true}, true);
  Converted result = quantized(traced(model, {3, 6, 5}));
  const auto expected = result.graph(Tensor(data)).data().to_vector<float>();
  const TempFolder folder;
  save_model(result.graph, folder / "encoder.safetensors");
  Graph loaded = load_model(folder / "encoder.safetensors");
  EXPECT_EQ(loaded(Tensor(data)).data().to_vector<float>(), expected);
}

}  // namespace
}  // namespace thimble::quant
