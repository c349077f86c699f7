#include <gtest/gtest.h>

#include <thimble/nn/graph/summary.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/recurrent.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {
namespace {

TEST(Summary, OfAnIntegerNetworkCountsTheSameProducts) {
  nn::Sequential net(nn::Conv2d(3, 8, 3, {.padding = 1}), nn::ReLU(), nn::Flatten(), nn::Linear(8 * 8 * 8, 10));
  net.eval();
  const Tensor x = NDArray::ones({2, 3, 8, 8});
  const nn::Graph graph = nn::trace(net, x);
  const nn::Graph integers = quantize_model(graph, std::vector<Tensor>{x});
  const nn::ModelSummary floats = nn::summary(graph, {x}), quantized = nn::summary(integers, {x});
  EXPECT_EQ(quantized.multiply_adds, floats.multiply_adds);
  EXPECT_LT(quantized.weight_bytes, floats.weight_bytes / 2);
}

TEST(Summary, OfIntegerRecurrentLayersCountsTheSameProducts) {
  nn::LSTM lstm(4, 8, {.num_layers = 2, .batch_first = true, .bidirectional = true});
  lstm.eval();
  const Tensor x = NDArray::ones({5, 2, 4});
  const nn::Graph graph = nn::trace(lstm, x), integers = quantize_dynamic(graph);
  const int64_t products = nn::summary(graph, {x}).multiply_adds;
  EXPECT_EQ(products, 5 * 2 * 2 * 4 * 8 * (4 + 8 + 16 + 8));
  EXPECT_EQ(nn::summary(integers, {x}).multiply_adds, products);
}

}  // namespace
}  // namespace thimble::quant
