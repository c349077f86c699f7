#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/layers/quantized_softmax.h>

namespace thimble::quant {
namespace {

// Term by term, of a line's integers, as the layer's description says.
std::vector<uint8_t> reference_softmax(const std::vector<uint8_t>& line, const TensorQParams& from,
                                       const TensorQParams& to) {
  const auto factor = [&](int steps, double one) {
    return static_cast<float>(one * std::exp(-steps * double{from.scale}));
  };
  const int largest = *std::ranges::max_element(line);
  std::vector<int64_t> terms;
  int64_t sum = 0;
  for (const int q : line) {
    const int below = largest - q;
    terms.push_back(std::llrint(factor(below / 16 * 16, 1 << 22) * factor(below % 16, 1)));
    sum += terms.back();
  }
  const auto multiplier = static_cast<float>(1 / (static_cast<double>(sum) * double{to.scale}));
  std::vector<uint8_t> out;
  for (const int64_t term : terms) {
    const float v = std::nearbyint(static_cast<float>(term) * multiplier) + static_cast<float>(to.zero_point);
    out.push_back(static_cast<uint8_t>(std::clamp(v, 0.0f, static_cast<float>(to.qmax()))));
  }
  return out;
}

NDArray reference_softmax(const NDArray& x, int axis, const TensorQParams& from, const TensorQParams& to) {
  const NDArray lines = x.transpose(axis, x.ndim() - 1).contiguous();
  const auto bytes = lines.to_vector<uint8_t>();
  const auto length = static_cast<std::ptrdiff_t>(lines.shape(-1));
  std::vector<uint8_t> out;
  for (auto line = bytes.begin(); line != bytes.end(); line += length) {
    const std::vector<uint8_t> results = reference_softmax({line, line + length}, from, to);
    out.insert(out.end(), results.begin(), results.end());
  }
  return NDArray::from_vector(out, lines.shape()).transpose(axis, x.ndim() - 1);
}

TEST(QuantizedSoftmax, IsExactOnEveryMachine) {
  std::mt19937 rng(1);
  const TensorQParams probabilities{1 / 255.0f, 0, 8};
  for (const float scale : {0.0004f, 0.03f, 0.2f, 3.0f, 1e30f})
    for (const TensorQParams& to : {probabilities, TensorQParams{0.0005f, 9, 8}, TensorQParams{0.05f, 3, 5}})
      for (const Shape& shape : {Shape{3, 7}, Shape{2, 64}, Shape{5, 100}, Shape{1, 1}, Shape{2, 3, 17, 33}, Shape{40},
                                 Shape{0, 4}, Shape{3, 0}, Shape{2, 9000}})
        for (int axis = 0; axis < shape.ndim(); ++axis) {
          const TensorQParams from{scale, static_cast<int32_t>(rng() % 256), 8};
          QuantizedSoftmax layer(axis - (rng() % 2 == 0 ? shape.ndim() : 0), from, to);
          const NDArray x = random_bytes(shape, rng);
          const auto expected = reference_softmax(x, axis, from, to).to_vector<uint8_t>();
          on_every_machine([&] {
            const Tensor y = layer(Tensor(x));
            ASSERT_EQ(y.shape(), shape);
            EXPECT_EQ(y.data().to_vector<uint8_t>(), expected) << shape << ", axis " << axis << ", scale " << scale;
          });
          EXPECT_EQ(nn::copy_layer(layer)->attributes(), layer.attributes());
        }
}

// Of many elements, whose sum leaves 32 bits.
TEST(QuantizedSoftmax, SumsDoNotOverflow) {
  const TensorQParams from{0.01f, 0, 8}, to{1e-6f, 0, 8};
  QuantizedSoftmax layer(0, from, to);
  const NDArray x = NDArray::full({20000}, 200, DType::uint8);
  on_every_machine([&] { EXPECT_EQ(layer(Tensor(x)).data().to_vector<int>(), std::vector<int>(20000, 50)); });
}

TEST(QuantizedSoftmax, IsNearTheFloats) {
  std::mt19937 rng(3);
  const TensorQParams from{0.05f, 77, 8}, to{1 / 255.0f, 0, 8};
  const NDArray x = random_bytes({50, 10}, rng);
  const auto floats = softmax(Dequantize(from)(Tensor(x)), 1).data().to_vector<double>();
  const auto got = QuantizedSoftmax(1, from, to)(Tensor(x)).data().to_vector<double>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i] / 255, floats[i], 0.501 / 255);
}

// In a graph, of a view, and of parts of the batch.
TEST(QuantizedSoftmax, ReadsViewsWhereTheyLie) {
  std::mt19937 rng(2);
  const TensorQParams from{0.1f, 0, 8}, to{1 / 255.0f, 0, 8};
  for (const int64_t axis : {1, 2, 3}) {
    nn::Graph graph;
    nn::Node* split =
        graph.add_op("split", "reshape", {{"shape", std::vector<int64_t>{-1, 6, 4, 5}}}, {graph.add_input("x")});
    nn::Node* view = graph.add_op("view", "permute", {{"axes", std::vector<int64_t>{0, 2, 1, 3}}}, {split});
    graph.set_output(graph.add_layer("y", std::make_shared<QuantizedSoftmax>(axis, from, to), {view}));
    graph.eval();
    const NDArray x = random_bytes({9, 6, 20}, rng);
    const NDArray permuted = x.reshape({9, 6, 4, 5}).permute({0, 2, 1, 3});
    const auto expected = reference_softmax(permuted, static_cast<int>(axis), from, to).to_vector<uint8_t>();
    on_every_machine([&] { EXPECT_EQ(graph(Tensor(x)).data().to_vector<uint8_t>(), expected) << axis; });
  }
}

TEST(QuantizedSoftmax, RefusesWhatItCannotTake) {
  const TensorQParams p{0.1f, 3, 8};
  EXPECT_THROW(QuantizedSoftmax(0, p, {-1.0f, 0, 8}), ValueError);
  EXPECT_THROW(QuantizedSoftmax(0, {1.0f, 0, 9}, p), ValueError);
  QuantizedSoftmax layer(2, p, p);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({3, 2}, DType::uint8))), ShapeError);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({3, 2, 2}))), DTypeError);
}

}  // namespace
}  // namespace thimble::quant
