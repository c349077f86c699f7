#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_matmul.h>

namespace thimble::quant {
namespace {

struct MatMulParameters {
  TensorQParams a, b, output;

  static MatMulParameters random(std::mt19937& rng, int64_t k) {
    const auto params = [&](float scale, int bits) {
      return TensorQParams{scale, static_cast<int32_t>(rng() % (1u << bits)), bits};
    };
    // So that results cover the output's range.
    const float wide = 0.03f * 0.05f * 60 * std::sqrt(static_cast<float>(k) + 1.0f);
    MatMulParameters p{params(0.03f, 8), params(0.05f, 8), params(wide, rng() % 4 == 0 ? 5 : 8)};
    if (rng() % 3 == 0) p.a.zero_point = 0;
    if (rng() % 3 == 0) p.b.zero_point = 128;
    return p;
  }
};

// Sums in 64 bits, of operands spread out to the output's batch.
std::vector<uint8_t> reference_matmul(const NDArray& left_operand, const NDArray& right_operand,
                                      const MatMulParameters& p) {
  const int64_t length = left_operand.shape(-1);
  const NDArray a = left_operand.ndim() > 1 ? left_operand : left_operand.reshape({1, length});
  const NDArray b = right_operand.ndim() > 1 ? right_operand : right_operand.reshape({length, 1});
  const int64_t m = a.shape(-2), k = a.shape(-1), n = b.shape(-1);
  const auto batch_of = [](const NDArray& x) {
    Shape batch;
    for (int d = 0; d + 2 < x.ndim(); ++d) batch.push_back(x.shape(d));
    return batch;
  };
  const Shape batch = broadcast_shapes(batch_of(a), batch_of(b), "reference");
  const auto spread = [&](const NDArray& x) {
    Shape shape = batch;
    shape.push_back(x.shape(-2));
    shape.push_back(x.shape(-1));
    return x.broadcast_to(shape).to_vector<int>();
  };
  const std::vector<int> left = spread(a), right = spread(b);
  const auto multiplier = static_cast<float>(double{p.a.scale} * double{p.b.scale} / double{p.output.scale});
  std::vector<uint8_t> out;
  for (int64_t matrix = 0; matrix < batch.numel(); ++matrix)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        int64_t sum = 0;
        for (int64_t l = 0; l < k; ++l)
          sum += int64_t{left[static_cast<size_t>((matrix * m + i) * k + l)] - p.a.zero_point} *
                 (right[static_cast<size_t>((matrix * k + l) * n + j)] - p.b.zero_point);
        const float v = std::nearbyint(static_cast<float>(sum) * multiplier) + static_cast<float>(p.output.zero_point);
        out.push_back(static_cast<uint8_t>(std::clamp(v, 0.0f, static_cast<float>(p.output.qmax()))));
      }
  return out;
}

TEST(QuantizedMatMul, IsTheProductOfTheIntegersOnEveryMachine) {
  std::mt19937 rng(1);
  const Shape shapes[][2] = {{{5, 7}, {7, 3}},
                             {{64, 64}, {64, 64}},
                             {{33, 130}, {130, 47}},
                             {{1, 1}, {1, 1}},
                             {{3, 70, 15}, {3, 15, 17}},
                             {{2, 3, 5, 48}, {2, 3, 48, 16}},
                             {{2, 1, 5, 9}, {3, 9, 4}},
                             {{4, 6}, {2, 6, 20}},
                             {{2, 2, 2, 3, 8}, {2, 2, 2, 8, 32}},
                             {{9}, {9}},
                             {{3, 5, 9}, {9}},
                             {{9}, {2, 9, 4}},
                             {{9}, {2, 3, 2, 9, 4}},
                             {{3, 4, 0}, {3, 0, 5}},
                             {{0, 4, 2}, {0, 2, 5}},
                             {{2, 0, 3}, {2, 3, 5}}};
  for (const auto& shape : shapes)
    for (int trial = 0; trial < 4; ++trial) {
      const MatMulParameters p = MatMulParameters::random(rng, shape[0].back());
      QuantizedMatMul layer(p.a, p.b, p.output);
      const NDArray a = random_bytes(shape[0], rng), b = random_bytes(shape[1], rng);
      const std::vector<uint8_t> expected = reference_matmul(a, b, p);
      on_every_machine([&] {
        const Tensor y = layer(Tensor(a), Tensor(b));
        EXPECT_EQ(y.dtype(), DType::uint8);
        EXPECT_EQ(y.data().to_vector<uint8_t>(), expected) << shape[0] << " " << shape[1];
      });
      EXPECT_EQ(nn::copy_layer(layer)->attributes(), layer.attributes());
    }
}

// The largest sums that fit 32 bits, and larger ones.
TEST(QuantizedMatMul, HasSumsOfAnyLength) {
  for (const int64_t k : {33025, 33026, 70000}) {
    const NDArray a = NDArray::full({2, k}, 255, DType::uint8), b = NDArray::full({k, 17}, 255, DType::uint8);
    const NDArray zeros = NDArray::zeros({k, 17}, DType::uint8);
    const TensorQParams low{1, 0, 8}, high{1, 255, 8}, out{600.0f * static_cast<float>(k), 120, 8};
    on_every_machine([&] {
      const auto up = QuantizedMatMul(low, low, out)(Tensor(a), Tensor(b)).data().to_vector<int>();
      const auto down = QuantizedMatMul(low, high, out)(Tensor(a), Tensor(zeros)).data().to_vector<int>();
      EXPECT_EQ(up, std::vector<int>(34, 120 + 108));
      EXPECT_EQ(down, std::vector<int>(34, 120 - 108));
    });
  }
}

// Attention's products, between the layer that makes all three operands and the one that merges the heads: of views,
// and of parts of the batch.
TEST(QuantizedMatMul, ReadsOperandsWhereTheyLie) {
  std::mt19937 rng(2);
  for (const int64_t heads : {1, 3})
    for (const int64_t size : {16, 9}) {
      const int64_t tokens = 18;
      const MatMulParameters p = MatMulParameters::random(rng, size);
      MatMulParameters second = MatMulParameters::random(rng, tokens);
      second.a = p.output;
      nn::Graph graph;
      nn::Node* x = graph.add_input("x");
      nn::Node* split =
          graph.add_op("split", "reshape", {{"shape", std::vector<int64_t>{-1, tokens, 3, heads, size}}}, {x});
      nn::Node* parts = graph.add_op("parts", "permute", {{"axes", std::vector<int64_t>{2, 0, 3, 1, 4}}}, {split});
      const auto operand = [&](int64_t i) {
        nn::Node* part = graph.add_op(
            "part", "slice", {{"axis", int64_t{0}}, {"start", i}, {"stop", i + 1}, {"step", int64_t{1}}}, {parts});
        return graph.add_op("operand", "squeeze", {{"axis", int64_t{0}}}, {part});
      };
      nn::Node* keys = graph.add_op("keys", "transpose", {{"axis0", int64_t{2}}, {"axis1", int64_t{3}}}, {operand(1)});
      nn::Node* scores =
          graph.add_layer("scores", std::make_shared<QuantizedMatMul>(p.a, p.b, p.output), {operand(0), keys});
      nn::Node* mixed = graph.add_layer("mixed", std::make_shared<QuantizedMatMul>(second.a, second.b, second.output),
                                        {scores, operand(2)});
      graph.set_output(mixed);
      graph.eval();

      for (const int64_t samples : {1, 7}) {
        const NDArray bytes = random_bytes({samples, tokens, 3 * heads * size}, rng);
        const NDArray qkv = bytes.reshape({samples, tokens, 3, heads, size}).permute({2, 0, 3, 1, 4});
        const auto part = [&](int64_t i) { return qkv.slice(0, i, i + 1).reshape({samples, heads, tokens, size}); };
        const std::vector<uint8_t> of_scores = reference_matmul(part(0), part(1).transpose(2, 3), p);
        const std::vector<uint8_t> expected =
            reference_matmul(NDArray::from_vector(of_scores, {samples, heads, tokens, tokens}), part(2), second);
        on_every_machine([&] { EXPECT_EQ(graph(Tensor(bytes)).data().to_vector<uint8_t>(), expected); });
      }
    }
}

TEST(QuantizedMatMul, RefusesWhatItCannotMultiply) {
  const TensorQParams p{0.1f, 3, 8};
  QuantizedMatMul layer(p, p, p);
  const auto bytes = [](const Shape& shape) { return Tensor(NDArray::zeros(shape, DType::uint8)); };
  EXPECT_THROW(layer(bytes({2, 3}), bytes({2, 3})), ShapeError);
  EXPECT_THROW(layer(bytes({}), bytes({3, 2})), ShapeError);
  EXPECT_THROW(layer(bytes({3}), bytes({4})), ShapeError);
  EXPECT_THROW(layer(bytes({2, 2, 3}), bytes({3, 3, 2})), ShapeError);
  EXPECT_THROW(layer(bytes({2, 3}), Tensor(NDArray::zeros({3, 2}))), DTypeError);
  EXPECT_THROW(layer(bytes({2, 3})), ValueError);
  EXPECT_THROW(QuantizedMatMul(p, {0.0f, 0, 8}, p), ValueError);
  EXPECT_THROW(QuantizedMatMul(p, p, {1.0f, 256, 8}), ValueError);
}

}  // namespace
}  // namespace thimble::quant
