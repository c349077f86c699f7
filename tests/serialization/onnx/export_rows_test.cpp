// Attention's integer layers, exported and imported again.
#include <gtest/gtest.h>

#include "tests/serialization/onnx/model_builder.h"
#include <thimble/core/random.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/quant/layers/quantized_layer_norm.h>
#include <thimble/quant/layers/quantized_matmul.h>
#include <thimble/quant/layers/quantized_mean.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/layers/quantized_scale.h>
#include <thimble/quant/layers/quantized_softmax.h>
#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {
namespace {

using quant::TensorQParams;

// Of [n, 6, 8], through all of them.
nn::Graph attention_of_integers(const nn::LayerNorm& norm, float weight_scale) {
  const TensorQParams in{0.03f, 120, 8}, normal{0.02f, 128, 8}, score{0.3f, 100, 8}, scaled{0.15f, 100, 8};
  const TensorQParams weight{weight_scale, 0, 8}, mixed{0.01f, 128, 8}, out{0.005f, 90, 8};
  nn::Graph graph;
  nn::Node* x = graph.add_input("x");
  x->attributes = nn::sample_attributes(Tensor(NDArray::zeros({1, 6, 8})));
  nn::Node* q = graph.add_layer("q", std::make_shared<quant::Quantize>(in), {x});
  nn::Node* n = graph.add_layer("norm", quant::QuantizedLayerNorm::from_float(norm, in, normal), {q});
  nn::Node* turned = graph.add_op("turned", "permute", {{"axes", std::vector<int64_t>{0, 2, 1}}}, {n});
  nn::Node* scores =
      graph.add_layer("scores", std::make_shared<quant::QuantizedMatMul>(normal, normal, score), {n, turned});
  nn::Node* smaller = graph.add_layer("smaller", std::make_shared<quant::QuantizedScale>(0.5), {scores});
  nn::Node* weights =
      graph.add_layer("weights", std::make_shared<quant::QuantizedSoftmax>(-1, scaled, weight), {smaller});
  nn::Node* mixture =
      graph.add_layer("mixed", std::make_shared<quant::QuantizedMatMul>(weight, normal, mixed), {weights, n});
  nn::Node* mean =
      graph.add_layer("mean", std::make_shared<quant::QuantizedMean>(Shape{1}, false, mixed, out), {mixture});
  graph.set_output(graph.add_layer("y", std::make_shared<quant::Dequantize>(out), {mean}));
  return graph;
}

int layers_of_type(const nn::Graph& graph, std::string_view type) {
  int found = 0;
  for (const nn::Node* node : graph.nodes()) found += graph.is_layer(node, type) ? 1 : 0;
  return found;
}

TEST(OnnxExportRows, AttentionOfIntegersIsThatAgain) {
  Generator generator(3);
  const auto normals_of = [&](const Shape& shape) { return Tensor(randn(shape, generator)); };
  const nn::LayerNorm plain(Shape{8}, nn::LayerNorm::Options{.eps = 1e-3, .elementwise_affine = false}),
      affine(Shape{8}, 1e-5, normals_of({8}), normals_of({8}));
  for (const auto& [norm, scale] : {std::pair(&plain, 1 / 255.0f), std::pair(&affine, 0.001f)})
    for (const int64_t opset : {17, 18, 21}) {
      nn::Graph graph = attention_of_integers(*norm, scale);
      nn::Graph again = Importer(Exporter(graph, {.opset = opset}).run(), ".").run();
      for (const char* type : {"QuantizedLayerNorm", "QuantizedSoftmax", "QuantizedMean"})
        EXPECT_EQ(layers_of_type(again, type), 1) << type << again.table();
      EXPECT_EQ(layers_of_type(again, "QuantizedMatMul"), 2);
      EXPECT_EQ(layers_of_type(again, "Quantize"), 1);
      EXPECT_EQ(layers_of_type(again, "Dequantize"), 1);
      const Tensor x = normals_of({5, 6, 8});
      EXPECT_EQ(again(x).data().to_vector<float>(), graph(x).data().to_vector<float>());
    }
}

}  // namespace
}  // namespace thimble::onnx
