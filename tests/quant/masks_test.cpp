// Masks in front of softmax: integers where the answer is the same, what they were elsewhere.
#include <functional>
#include <limits>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reading.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/softmax_inputs.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

constexpr int64_t kPlaces = 12, kFullRow = 5;
constexpr float kNever = -std::numeric_limits<float>::infinity(), kLowest = std::numeric_limits<float>::lowest();

// Attention whose scores are hidden in a way of its own, by a mask of numbers or of bools.
struct Hiding : nn::Module {
  using Hide = std::function<Tensor(const Tensor& scores, const Tensor& mask)>;
  Hiding(const NDArray& of, Hide how) : hide(std::move(how)), mask(register_buffer("mask", of)) {}
  Hide hide;
  nn::Submodule<nn::Linear> query{this, "query", 6, 8}, key{this, "key", 6, 8}, value{this, "value", 6, 8},
      head{this, "head", 8, 4};
  Tensor mask;
  Tensor forward(const Tensor& x) override {
    const Tensor hidden = hide(matmul(query(x), transpose(key(x), 1, 2)), mask);
    return head(matmul(softmax(hidden, -1), value(x)));
  }
};

// Causal; with one row that sees nothing at all, if asked for.
bool is_hidden(int64_t row, int64_t column, bool with_full_row) {
  return column > row || (with_full_row && row == kFullRow);
}

NDArray hidden_places(bool with_full_row) {
  NDArray mask({kPlaces, kPlaces}, DType::bool_);
  for (int64_t i = 0; i < mask.numel(); ++i) mask.data<bool>()[i] = is_hidden(i / kPlaces, i % kPlaces, with_full_row);
  return mask;
}

NDArray numbers_of(float out, bool with_full_row) {
  NDArray mask({kPlaces, kPlaces});
  for (int64_t i = 0; i < mask.numel(); ++i)
    mask.data<float>()[i] = is_hidden(i / kPlaces, i % kPlaces, with_full_row) ? out : 0;
  return mask;
}

Hiding filled(float fill, bool with_full_row) {
  return {hidden_places(with_full_row), [fill](const Tensor& scores, const Tensor& mask) {
            return where(mask, Tensor::scalar(fill, DType::float32), scores);
          }};
}

Hiding added(float out, bool with_full_row, double factor = 1) {
  return {numbers_of(out, with_full_row),
          [factor](const Tensor& scores, const Tensor& mask) { return scores * factor + mask; }};
}

class QuantizeMasks : public QuantizeTest {
 protected:
  Graph traced_attention(nn::Module& model) {
    rng.seed(1);
    return traced(model, {9, kPlaces, 6});
  }

  // Every score of the full row is hidden: each of its probabilities is the same.
  void expect_uniform(Converted& result) {
    const Reading reading(result.graph, Tensor(data));
    const auto probabilities = reading.numbers(result.graph.find("softmax")).to_vector<double>();
    for (size_t i = 0; i < probabilities.size(); ++i) {
      if (i / kPlaces % kPlaces != kFullRow) continue;
      EXPECT_NEAR(probabilities[i], 1.0 / kPlaces, 1 / 254.0) << i;
    }
  }

  // The float graph that is calibrated, against the one that it was made of.
  double sqnr_of_prepared(const Graph& graph, const QConfigMapping& mapping) {
    Converted prepared{prepare(graph, mapping), {}};
    prepared.graph.eval();
    return sqnr(graph, prepared);
  }

  static std::vector<float> constant(const Graph& graph, const std::string& name) {
    const Node* node = graph.find(name);
    return node && node->kind == Node::Kind::tensor ? graph.tensor(node).data().to_vector<float>()
                                                    : std::vector<float>();
  }
};

const QConfigMapping& with_float_scores() {
  static const auto mapping =
      QConfigMapping::static_int8().set_name("query", std::nullopt).set_name("key", std::nullopt);
  return mapping;
}

const QConfigMapping& with_float_softmax() {
  static const auto mapping = QConfigMapping::static_int8().set_type("softmax", std::nullopt);
  return mapping;
}

TEST_F(QuantizeMasks, FillsOfFullRowsAreIntegers) {
  for (const float fill : {-2000.0f, -1e4f, -1e9f, kLowest}) {
    SCOPED_TRACE(fill);
    Hiding model = filled(fill, /*with_full_row=*/true);
    const Graph graph = traced_attention(model);
    EXPECT_GT(sqnr_of_prepared(graph, QConfigMapping::static_int8()), 50);
    Converted result = quantized(graph);
    EXPECT_EQ(result.count("where"), 0);
    EXPECT_EQ(result.count("QuantizedSoftmax"), 1) << result.graph.table();
    EXPECT_EQ(result.count("Quantize") + result.count("Dequantize"), 1);
    EXPECT_GT(sqnr(graph, result), 26);
    expect_uniform(result);
  }
}

// Where floats have no answer, all of them are as probable.
TEST_F(QuantizeMasks, FullRowsOfMinusInfinityAreUniform) {
  Hiding fill = filled(kNever, true), sum = added(kNever, true);
  for (Hiding* model : {&fill, &sum}) {
    Converted result = quantized(traced_attention(*model));
    EXPECT_EQ(result.count("QuantizedSoftmax"), 1) << result.graph.table();
    expect_uniform(result);
  }
}

// What floats add to a full row is uniform, too, if it is so large that nothing is left of the scores.
TEST_F(QuantizeMasks, SumsOfFullRowsAreIntegersIfTheirMaskHidesTheScores) {
  for (const float out : {-1e9f, kLowest}) {
    SCOPED_TRACE(out);
    Hiding model = added(out, true);
    const Graph graph = traced_attention(model);
    Converted result = quantized(graph);
    EXPECT_EQ(result.count("QuantizedSoftmax"), 1) << result.graph.table();
    EXPECT_GT(sqnr(graph, result), 26);
    expect_uniform(result);
  }
  for (const float out : {-2000.0f, -1e4f, -1e6f}) {
    SCOPED_TRACE(out);
    Hiding model = added(out, true), without = added(out, false);
    const Graph graph = traced_attention(model);
    EXPECT_GT(sqnr_of_prepared(graph, QConfigMapping::static_int8()), 100);
    Converted result = quantized(graph);
    EXPECT_THAT(result.layer("add").reason, HasSubstr("a line that its mask hides as a whole"));
    EXPECT_TRUE(result.layer("softmax").kept_float);
    EXPECT_EQ(constant(result.graph, "mask"), numbers_of(out, true).to_vector<float>());
    EXPECT_GT(sqnr(graph, result), 26);
    EXPECT_EQ(quantized(traced_attention(without)).count("QuantizedSoftmax"), 1);
  }
}

// Floats of -1e9 are 64 apart.
TEST_F(QuantizeMasks, ScoresThatTheirMaskDoesNotHideStayFloat) {
  Hiding model = added(-1e9f, true, 40), causal = added(-1e9f, false, 40);
  const Graph graph = traced_attention(model);
  Converted result = quantized(graph);
  EXPECT_THAT(result.layer("add").reason, HasSubstr("a line that its mask hides as a whole"));
  EXPECT_TRUE(result.layer("softmax").kept_float);
  EXPECT_EQ(constant(result.graph, "mask"), numbers_of(-1e9f, true).to_vector<float>());
  EXPECT_EQ(quantized(traced_attention(causal)).count("QuantizedSoftmax"), 1);
}

TEST_F(QuantizeMasks, WhatStaysFloatKeepsItsFill) {
  for (const QConfigMapping& mapping : {with_float_scores(), with_float_softmax()})
    for (const float fill : {-2000.0f, -1e4f, -1e9f, kLowest, kNever}) {
      SCOPED_TRACE(fill);
      Hiding model = filled(fill, /*with_full_row=*/fill != kNever);
      const Graph graph = traced_attention(model);
      EXPECT_GT(sqnr_of_prepared(graph, mapping), 100);
      Converted result = quantized(graph, mapping);
      EXPECT_EQ(result.count("where"), 1) << result.graph.table();
      EXPECT_EQ(result.count("add"), 0);
      EXPECT_TRUE(result.layer("where").kept_float);
      EXPECT_GT(sqnr(graph, result), 26);
    }
}

TEST_F(QuantizeMasks, WhatStaysFloatKeepsItsMask) {
  for (const QConfigMapping& mapping : {with_float_scores(), with_float_softmax()})
    for (const float out : {-2000.0f, -1e4f, -1e9f, kLowest, kNever}) {
      SCOPED_TRACE(out);
      Hiding model = added(out, /*with_full_row=*/out != kNever);
      const Graph graph = traced_attention(model);
      EXPECT_GT(sqnr_of_prepared(graph, mapping), 100);
      Converted result = quantized(graph, mapping);
      const Node* sum = result.graph.find("add");
      ASSERT_TRUE(sum && result.graph.is_op(sum, "add")) << result.graph.table();
      EXPECT_EQ(sum->inputs[1], result.graph.find("mask"));
      EXPECT_EQ(constant(result.graph, "mask"), numbers_of(out, out != kNever).to_vector<float>());
      EXPECT_GT(sqnr(graph, result), 26);
    }
}

// A mask of one number for each output of the layer in front is one, and no bias.
TEST_F(QuantizeMasks, MasksBehindALayerAreNoBias) {
  struct Net : nn::Module {
    explicit Net(const NDArray& of) : mask(register_buffer("mask", of)) {}
    nn::Submodule<nn::Linear> first{this, "first", 8, 8}, scores{this, "scores", 8, 6}, last{this, "last", 6, 4};
    Tensor mask;
    Tensor forward(const Tensor& x) override { return last(softmax(scores(first(x)) + mask, -1)); }
  };
  for (const float out : {-1e4f, -1e9f, kNever}) {
    const NDArray numbers = NDArray::from_vector<float>({0, 0.5f, 0, -1, out, out});
    std::vector<std::vector<float>> answers;
    for (const Shape& shape : {Shape{6}, Shape{1, 6}}) {
      SCOPED_TRACE(str(out, ' ', shape));
      Net model(numbers.reshape(shape));
      rng.seed(1);
      const Graph graph = traced(model);
      Converted result = quantized(graph);
      EXPECT_EQ(result.count("QuantizedAdd"), 1) << result.graph.table();
      EXPECT_EQ(result.count("QuantizedSoftmax"), 1);
      EXPECT_GT(sqnr(graph, result), 26);
      answers.push_back(result.graph(Tensor(data)).data().to_vector<float>());
    }
    EXPECT_EQ(answers[0], answers[1]);
  }
  Net small(NDArray::from_vector<float>({0, 0.5f, 0, -1, 3, -4}));
  EXPECT_EQ(quantized(traced(small)).count("QuantizedAdd"), 0);
}

// A mask that is subtracted is its negative, added.
TEST_F(QuantizeMasks, SubtractedMasksAreAdded) {
  for (const float out : {-1e9f, kNever}) {
    SCOPED_TRACE(out);
    NDArray mask = numbers_of(out, false);
    for (int64_t i = 0; i < mask.numel(); ++i) mask.data<float>()[i] *= -1;
    Hiding added_one(numbers_of(out, false), [](const Tensor&scores, const Tensor&m) { return scores + m; }),
        subtracted(mask, [](const Tensor&scores, const Tensor&m) { return scores - m; });
    const Graph expected = traced_attention(added_one), graph = traced_attention(subtracted);
    EXPECT_GT(sqnr_of_prepared(graph, QConfigMapping::static_int8()), 50);
    Converted one = quantized(expected), other = quantized(graph);
    EXPECT_EQ(other.count("QuantizedSoftmax"), 1) << other.graph.table();
    EXPECT_EQ(other.graph(Tensor(data)).data().to_vector<float>(), one.graph(Tensor(data)).data().to_vector<float>());
    const auto mapping = QConfigMapping::static_int8().set_type("sub", std::nullopt);
    EXPECT_EQ(quantized(graph, mapping).count("sub"), 1);
  }
}

// A network has one mask and many layers.
TEST_F(QuantizeMasks, AConditionThatIsSharedIsOneMask) {
  struct Twice : nn::Module {
    nn::Submodule<nn::Linear> query{this, "query", 6, 8}, key{this, "key", 6, 8}, key2{this, "key2", 8, 8},
        head{this, "head", 8, 4};
    Tensor mask = register_buffer("mask", hidden_places(true));
    Tensor forward(const Tensor& x) override {
      const Tensor q = query(x), k = key(x), fill = Tensor::scalar(-1e9, DType::float32);
      const Tensor y = matmul(softmax(where(mask, fill, matmul(q, transpose(k, 1, 2))), -1), k);
      return head(matmul(softmax(where(mask, fill, matmul(q, transpose(key2(y), 1, 2))), -1), y));
    }
  } model;
  const Graph graph = traced_attention(model);
  const Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedSoftmax"), 2) << result.graph.table();
  int masks = 0;
  const auto is_mask = [](const Graph& in, const Node* node) {
    return node->kind == Node::Kind::tensor && in.tensor(node).numel() == kPlaces * kPlaces;
  };
  for (const Node* node : result.graph.nodes()) masks += is_mask(result.graph, node);
  EXPECT_EQ(masks, 1) << result.graph.table();
  const Graph prepared = prepare(graph, QConfigMapping::static_int8());
  masks = 0;
  for (const Node* node : prepared.nodes()) masks += is_mask(prepared, node);
  EXPECT_EQ(masks, 1) << prepared.table();
}

// As a file may be that was changed by hand.
TEST_F(QuantizeMasks, AMaskingNodeWithoutObserverIsAnErrorThatSaysSo) {
  Hiding model = filled(-1e9f, false);
  Graph prepared = prepare(traced_attention(model), QConfigMapping::static_int8());
  prepared(Tensor(data));
  Node* observer = prepared.find("where.observer");
  ASSERT_NE(observer, nullptr) << prepared.table();
  prepared.replace_uses(observer, observer->inputs[0]);
  prepared.erase(observer);
  EXPECT_THAT(error_of([&] { convert(prepared); }), HasSubstr("'where' is to be quantized, but has no observer"));
}

TEST(HidesEvenly, IsAboutLinesAlongTheAxis) {
  const float small = -1e4f, large = -1e9f;
  const Tensor rows(NDArray::from_vector(std::vector<float>{0, small, small, small}, {2, 2}));
  EXPECT_FALSE(hides_evenly(rows, -1, -1, 1));  // the second row
  EXPECT_FALSE(hides_evenly(rows, -2, -1, 1));  // the second column
  EXPECT_FALSE(hides_evenly(rows, -3, -1, 1));  // each of its elements is added to a whole line
  const Tensor column(NDArray::from_vector(std::vector<float>{0, small, 0, small}, {2, 2}));
  EXPECT_TRUE(hides_evenly(column, -1, -1, 1));
  EXPECT_TRUE(hides_evenly(column, 1, -1, 1));
  EXPECT_TRUE(hides_evenly(column, 3, -1, 1));
  EXPECT_FALSE(hides_evenly(column, -2, -1, 1));
  EXPECT_FALSE(hides_evenly(column, 0, -1, 1));
  const Tensor uneven(NDArray::from_vector(std::vector<float>{large, 2 * large}, {1, 2}));
  EXPECT_FALSE(hides_evenly(uneven, -1, -1, 1));
  const Tensor even(NDArray::from_vector(std::vector<float>{large, large}, {1, 2}));
  EXPECT_TRUE(hides_evenly(even, -1, -32, 32));
  EXPECT_FALSE(hides_evenly(even, -1, -33, 0));
  EXPECT_FALSE(hides_evenly(even, -1, 0, 33));
  EXPECT_TRUE(hides_evenly(Tensor(NDArray::full({3}, kNever)), -1, -1e30f, 1e30f));
  EXPECT_TRUE(hides_evenly(Tensor(NDArray({0, 3})), -1, -1, 1));
  EXPECT_TRUE(hides_evenly(Tensor(NDArray({3, 0})), -1, -1, 1));
}

}  // namespace
}  // namespace thimble::quant
