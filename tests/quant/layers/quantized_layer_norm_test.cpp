#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_layer_norm.h>
#include <thimble/quant/layers/quantized_ops.h>

namespace thimble::quant {
namespace {

// Rows of n, as the layer's description says.
std::vector<uint8_t> reference_layer_norm(const std::vector<uint8_t>& x, const nn::LayerNorm& layer,
                                          const TensorQParams& from, const TensorQParams& to, int64_t n, double eps) {
  const std::vector<double> weight =
      layer.weight.defined() ? layer.weight.data().to_vector<double>() : std::vector<double>(static_cast<size_t>(n), 1);
  const std::vector<double> bias =
      layer.bias.defined() ? layer.bias.data().to_vector<double>() : std::vector<double>(static_cast<size_t>(n), 0);
  const double count = static_cast<double>(n), scale = double{from.scale};
  std::vector<uint8_t> out;
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(n)) {
    int64_t sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t q = x[row + static_cast<size_t>(i)];
      sum += q;
      squares += q * q;
    }
    const double variance = static_cast<double>(n * squares - sum * sum) / (count * count);
    const double factor = scale / std::sqrt(variance * scale * scale + eps);
    const auto r = static_cast<float>(factor),
               offset = static_cast<float>(-(static_cast<double>(sum) / count * double{r}));
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      const float product = static_cast<float>(x[row + i]) * r, normalized = product + offset;
      const float scaled = normalized * static_cast<float>(weight[i] / double{to.scale});
      const float v = scaled + static_cast<float>(bias[i] / double{to.scale});
      const float q = std::clamp(std::nearbyint(v), static_cast<float>(-to.zero_point),
                                 static_cast<float>(to.qmax() - to.zero_point));
      out.push_back(static_cast<uint8_t>(q + static_cast<float>(to.zero_point)));
    }
  }
  return out;
}

nn::LayerNorm random_layer_norm(const Shape& shape, double eps, std::mt19937& rng) {
  return nn::LayerNorm(shape, eps, Tensor(random_normal(shape, rng)), Tensor(random_normal(shape, rng)));
}

TEST(QuantizedLayerNorm, IsExactOnEveryMachine) {
  std::mt19937 rng(1);
  struct NormCase {
    Shape x, normalized;
  };
  const NormCase cases[] = {{{5, 7}, {7}},       {{3, 4, 192}, {192}},   {{2, 33, 20}, {33, 20}},
                            {{2, 3, 4, 5}, {5}}, {{2, 3, 4, 5}, {4, 5}}, {{70000}, {70000}},
                            {{4, 1}, {1}},       {{0, 6}, {6}},          {{3, 0}, {0}}};
  for (const NormCase& c : cases)
    for (int trial = 0; trial < 3; ++trial) {
      const TensorQParams from{trial == 1 ? 1e-4f : 0.04f, 91, 8};
      const TensorQParams to = trial == 2 ? TensorQParams{0.4f, 8, 4} : TensorQParams{0.02f, 120, 8};
      const nn::LayerNorm layer = random_layer_norm(c.normalized, 1e-5, rng);
      const auto quantized = QuantizedLayerNorm::from_float(layer, from, to);
      const NDArray x = random_bytes(c.x, rng);
      const auto expected = reference_layer_norm(x.to_vector<uint8_t>(), layer, from, to, c.normalized.numel(), 1e-5);
      on_every_machine([&] {
        const Tensor y = (*quantized)(Tensor(x));
        ASSERT_EQ(y.shape(), c.x);
        EXPECT_EQ(y.data().to_vector<uint8_t>(), expected) << c.x;
      });
      const auto copy = nn::copy_layer(*quantized);
      EXPECT_EQ(copy->attributes(), quantized->attributes());
      EXPECT_EQ((*copy)(Tensor(x)).data().to_vector<uint8_t>(), expected);
    }
}

TEST(QuantizedLayerNorm, WithoutAnAffinePartIsNearTheFloats) {
  std::mt19937 rng(2);
  const TensorQParams from{0.05f, 100, 8}, to{0.03f, 128, 8};
  nn::LayerNorm layer(Shape{48}, nn::LayerNorm::Options{.eps = 1e-3, .elementwise_affine = false});
  const auto quantized = QuantizedLayerNorm::from_float(layer, from, to);
  EXPECT_TRUE(quantized->state().empty());
  const NDArray x = random_bytes({10, 48}, rng);
  const auto floats = layer(Dequantize(from)(Tensor(x))).data().to_vector<double>();
  const auto got = (*quantized)(Tensor(x)).data().to_vector<double>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR((got[i] - 128) * 0.03, floats[i], 0.501 * 0.03);
}

// What an image's pixels became rows of: a view.
TEST(QuantizedLayerNorm, ReadsViewsWhereTheyLie) {
  std::mt19937 rng(3);
  const TensorQParams from{0.05f, 100, 8}, to{0.03f, 128, 8};
  const nn::LayerNorm layer = random_layer_norm({6}, 1e-5, rng);
  nn::Graph graph;
  nn::Node* x = graph.add_input("x");
  nn::Node* flat = graph.add_op("flat", "reshape", {{"shape", std::vector<int64_t>{-1, 6, 20}}}, {x});
  nn::Node* rows = graph.add_op("rows", "permute", {{"axes", std::vector<int64_t>{0, 2, 1}}}, {flat});
  graph.set_output(graph.add_layer("y", QuantizedLayerNorm::from_float(layer, from, to), {rows}));
  graph.eval();
  for (const Shape& shape : {Shape{5, 6, 4, 5}, Shape{5, 6, 20}}) {
    const NDArray image = random_bytes(shape, rng);
    const auto pixels = image.reshape({5, 6, 20}).permute({0, 2, 1}).to_vector<uint8_t>();
    const auto expected = reference_layer_norm(pixels, layer, from, to, 6, 1e-5);
    on_every_machine([&] { EXPECT_EQ(graph(Tensor(image)).data().to_vector<uint8_t>(), expected); });
  }
}

// Weights that no float is: defined, and the same everywhere.
TEST(QuantizedLayerNorm, KeepsWhatIsNoNumberWithinBounds) {
  const TensorQParams from{3e38f, 0, 8}, to{1e-38f, 7, 8};
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const nn::LayerNorm layer({4}, 1e-300, Tensor(NDArray::from_vector(std::vector<float>{inf, nan, 0, 1e30f})),
                            Tensor(NDArray::from_vector(std::vector<float>{0, 0, inf, -1e30f})));
  const auto quantized = QuantizedLayerNorm::from_float(layer, from, to);
  const NDArray x = NDArray::from_vector(std::vector<uint8_t>{1, 2, 3, 255, 9, 9, 9, 9}, {2, 4});
  const auto expected = (*quantized)(Tensor(x)).data().to_vector<int>();
  on_every_machine([&] { EXPECT_EQ((*quantized)(Tensor(x)).data().to_vector<int>(), expected); });
}

TEST(QuantizedLayerNorm, RefusesWhatItCannotTake) {
  const TensorQParams p{0.1f, 3, 8};
  EXPECT_THROW(QuantizedLayerNorm({}, {}, p, p), ValueError);
  EXPECT_THROW(QuantizedLayerNorm({int64_t{1} << 19}, {}, p, p), ValueError);
  for (const double eps : {0.0, -1.0, std::nan("")})
    EXPECT_THROW(QuantizedLayerNorm({3}, {.eps = eps}, p, p), ValueError);
  EXPECT_THROW(QuantizedLayerNorm({3}, {}, p, {0.0f, 3, 8}), ValueError);
  const auto layer = QuantizedLayerNorm::from_float(nn::LayerNorm({3}), p, p);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({2, 4}, DType::uint8))), ShapeError);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({}, DType::uint8))), ShapeError);
  EXPECT_THROW((*layer)(Tensor(NDArray::zeros({2, 3}))), DTypeError);
}

}  // namespace
}  // namespace thimble::quant
