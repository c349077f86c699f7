// Transformers as integers.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reading.h"
#include "tests/serialization/files.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/fold_sizes.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::quant {
namespace {

constexpr int64_t kTokens = 12, kHeads = 2, kHeadSize = 8, kWidth = kHeads * kHeadSize;

// One block and a head over the mean of its tokens.
struct Transformer : nn::Module {
  nn::Submodule<nn::Linear> embed{this, "embed", 6, kWidth};
  nn::Submodule<nn::LayerNorm> norm1{this, "norm1", Shape{kWidth}};
  nn::Submodule<nn::Linear> qkv{this, "qkv", kWidth, 3 * kWidth};
  nn::Submodule<nn::Linear> out{this, "out", kWidth, kWidth};
  nn::Submodule<nn::LayerNorm> norm2{this, "norm2", Shape{kWidth}};
  nn::Submodule<nn::Linear> fc1{this, "fc1", kWidth, 2 * kWidth};
  nn::Submodule<nn::Linear> fc2{this, "fc2", 2 * kWidth, kWidth};
  nn::Submodule<nn::Linear> head{this, "head", kWidth, 5};

  Tensor forward(const Tensor& image) override {
    Tensor x = embed(image);
    x = x + attention(norm1(x));
    x = x + fc2(gelu(fc1(norm2(x))));
    return head(mean(x, {1}));
  }

  Tensor attention(const Tensor& x) {
    const Tensor parts = permute(reshape(qkv(x), {-1, kTokens, 3, kHeads, kHeadSize}), {2, 0, 3, 1, 4});
    const auto part = [&](int64_t i) { return squeeze(slice(parts, 0, i, i + 1), 0); };
    const Tensor scores = matmul(part(0), transpose(part(1), 2, 3)) * (1 / std::sqrt(double{kHeadSize}));
    const Tensor mixed = permute(matmul(softmax(scores, -1), part(2)), {0, 2, 1, 3});
    return out(reshape(mixed, {-1, kTokens, kWidth}));
  }
};

class QuantizeAttention : public QuantizeTest {};

TEST_F(QuantizeAttention, ATransformerIsIntegerFromEndToEnd) {
  Transformer model;
  const Graph graph = traced(model, {9, kTokens, 6});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("Quantize"), 1) << result.graph.table();
  EXPECT_EQ(result.count("Dequantize"), 0);
  EXPECT_EQ(result.count("QuantizedMatMul"), 2);
  EXPECT_EQ(result.count("QuantizedSoftmax"), 1);
  EXPECT_EQ(result.count("QuantizedLayerNorm"), 2);
  EXPECT_EQ(result.count("QuantizedMean"), 1);
  EXPECT_EQ(result.count("QuantizedScale"), 1) << "attention's 1 / sqrt(size) is the scale of its scores";
  for (const LayerReport& layer : result.report) EXPECT_FALSE(layer.kept_float) << layer.name << ": " << layer.reason;
  EXPECT_GT(sqnr(graph, result), 25);
  expect_deterministic(result.graph);
  const Reading reading(result.graph, Tensor(data));
  for (const Node* node : result.graph.nodes()) reading.expect_right(node);
}

TEST_F(QuantizeAttention, IsTheSameFromAFile) {
  Transformer model;
  Converted result = quantized(traced(model, {3, kTokens, 6}));
  const auto expected = result.graph(Tensor(data)).data().to_vector<float>();
  const TempFolder folder;
  save_model(result.graph, folder / "model.safetensors");
  Graph loaded = load_model(folder / "model.safetensors");
  EXPECT_EQ(loaded(Tensor(data)).data().to_vector<float>(), expected);
}

// A LayerNorm whose eps no integer form takes stays float, and what is around it works.
TEST_F(QuantizeAttention, WhatHasNoIntegerFormStaysFloat) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 6, 8};
    nn::Submodule<nn::LayerNorm> norm{this, "norm", Shape{8}, nn::LayerNorm::Options{.eps = 0}};
    nn::Submodule<nn::Linear> b{this, "b", 8, 4};
    Tensor forward(const Tensor& x) override { return b(norm(a(x))); }
  } model;
  const Graph graph = traced(model, {9, 6});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("LayerNorm"), 1);
  EXPECT_EQ(result.layer("norm").reason, "it has no integer form");
  EXPECT_GT(sqnr(graph, result), 25);
}

// Attention over tokens with a constant added to its scores, twice.
struct Masked : nn::Module {
  explicit Masked(const NDArray& added) : mask(register_buffer("mask", added)) {}
  nn::Submodule<nn::Linear> query{this, "query", 6, 8}, key{this, "key", 6, 8}, value{this, "value", 6, 8},
      key2{this, "key2", 8, 8}, head{this, "head", 8, 4};
  Tensor mask;
  Tensor forward(const Tensor& x) override {
    const Tensor q = query(x), v = value(x);
    const Tensor y = matmul(softmax(matmul(q, transpose(key(x), 1, 2)) + mask, -1), v);
    return head(matmul(softmax(mask + 0.3 * matmul(q, transpose(key2(y), 1, 2)), -1), y));
  }
};

// Causal, with these numbers at and above the diagonal.
NDArray causal(float above, float slope = 0) {
  NDArray mask({kTokens, kTokens});
  for (int64_t row = 0; row < kTokens; ++row)
    for (int64_t column = 0; column < kTokens; ++column)
      mask.data<float>()[row * kTokens + column] = column > row ? above : slope * static_cast<float>(column - row);
  return mask;
}

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

TEST_F(QuantizeAttention, MasksAreIntegers) {
  for (const float slope : {0.0f, 0.25f})  // a bias for how far tokens are apart, too
    for (const float out : {kMinusInfinity, std::numeric_limits<float>::lowest(), -1e9f, -10000.0f, -50.0f}) {
      Masked model(causal(out, slope));
      const Graph graph = traced(model, {9, kTokens, 6});
      Converted result = quantized(graph);
      SCOPED_TRACE(str(out, ", ", slope, "\n", result.graph.table()));
      for (const LayerReport& layer : result.report)
        EXPECT_FALSE(layer.kept_float) << layer.name << ": " << layer.reason;
      EXPECT_EQ(result.count("QuantizedSoftmax"), 2);
      EXPECT_EQ(result.count("Quantize") + result.count("Dequantize"), 1);
      EXPECT_GT(sqnr(graph, result), 26);
      expect_deterministic(result.graph);
      // What is masked out is exactly 0.
      const Reading reading(result.graph, Tensor(data));
      const auto probabilities = reading.numbers(result.graph.find("softmax")).to_vector<double>();
      for (size_t i = 0; i < probabilities.size(); ++i)
        EXPECT_TRUE(probabilities[i] == 0 || i % kTokens <= i / kTokens % kTokens) << i;
      for (const Node* node : result.graph.nodes()) reading.expect_right(node);
    }
}

// masked_fill is where: with the condition or its opposite.
TEST_F(QuantizeAttention, MasksThatChooseAreIntegers) {
  struct Chosen : nn::Module {
    explicit Chosen(bool fills) : where_true(fills) {
      NDArray chosen({kTokens, kTokens}, DType::bool_);
      for (int64_t i = 0; i < chosen.numel(); ++i) chosen.data<bool>()[i] = (i % kTokens > i / kTokens) == fills;
      condition = register_buffer("condition", chosen);
    }
    bool where_true;
    nn::Submodule<nn::Linear> query{this, "query", 6, 8}, key{this, "key", 6, 8}, value{this, "value", 6, 8},
        head{this, "head", 8, 4};
    Tensor condition;
    Tensor forward(const Tensor& x) override {
      const Tensor scores = matmul(query(x), transpose(key(x), 1, 2));
      const Tensor number = Tensor::scalar(-1e9, DType::float32);
      const Tensor kept = where_true ? where(condition, number, scores) : where(condition, scores, number);
      return head(matmul(softmax(kept, -1), value(x)));
    }
  } of_true(true), of_false(false);
  for (Chosen* model : {&of_true, &of_false}) {
    rng.seed(1);
    const Graph graph = traced(*model, {9, kTokens, 6});
    Converted result = quantized(graph);
    EXPECT_EQ(result.count("where"), 0);
    EXPECT_EQ(result.count("QuantizedSoftmax"), 1) << result.graph.table();
    EXPECT_EQ(result.count("Quantize") + result.count("Dequantize"), 1);
    EXPECT_GT(sqnr(graph, result), 26);
    const Reading reading(result.graph, Tensor(data));
    const auto probabilities = reading.numbers(result.graph.find("softmax")).to_vector<double>();
    for (size_t i = 0; i < probabilities.size(); ++i)
      EXPECT_TRUE(probabilities[i] == 0 || i % kTokens <= i / kTokens % kTokens) << i;
  }
}

// As if there were none, however many tokens are masked: their sum counts for nothing.
TEST_F(QuantizeAttention, MaskedTokensLeaveNoTrace) {
  NDArray first = NDArray::full({kTokens, kTokens}, kMinusInfinity);
  for (int64_t row = 0; row < kTokens; ++row) first.data<float>()[row * kTokens] = 0;
  Masked model(first);
  Converted result = quantized(traced(model, {9, kTokens, 6}));
  const Reading reading(result.graph, Tensor(data));
  const auto probabilities = reading.numbers(result.graph.find("softmax")).to_vector<double>();
  for (size_t i = 0; i < probabilities.size(); ++i) EXPECT_NEAR(probabilities[i], i % kTokens == 0, 1 / 254.0) << i;
}

TEST_F(QuantizeAttention, LinesThatAreMaskedAsAWholeTouchNoOther) {
  NDArray mask = causal(-1e9f);
  for (int64_t column = 0; column < kTokens; ++column) mask.data<float>()[5 * kTokens + column] = -1e9f;
  Masked model(mask);
  const Graph graph = traced(model, {9, kTokens, 6});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedSoftmax"), 2);
  EXPECT_GT(sqnr(graph, result), 26);
}

// What is no mask, or one that others read, too.
TEST_F(QuantizeAttention, OtherConstantsStayFloat) {
  Masked upside_down(causal(1e9f));
  EXPECT_TRUE(quantized(traced(upside_down, {9, kTokens, 6})).layer("add").kept_float);
  for (const float other : {-kMinusInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    Masked model(causal(other));
    EXPECT_THROW(quantized(traced(model, {9, kTokens, 6})), ValueError) << other;  // what comes of it is not finite
  }
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 6, 6}, b{this, "b", 6, 4};
    Tensor mask = register_buffer("mask", NDArray::full({kTokens, 6}, -1e9));
    Tensor forward(const Tensor& x) override { return b(sigmoid(a(x) + mask)); }
  } net;
  Converted result = quantized(traced(net, {9, kTokens, 6}));
  EXPECT_TRUE(result.layer("add").kept_float);
}

TEST_F(QuantizeAttention, AMaskIsTrainedWith) {
  Masked model(causal(kMinusInfinity));
  const Graph graph = traced(model, {9, kTokens, 6});
  Graph trained = prepare_qat(graph, QConfigMapping::static_int8());
  trained(Tensor(data));
  disable_observer(trained);
  const Tensor loss = mean(trained(Tensor(data)));
  loss.backward();
  for (const Tensor& p : trained.parameters())
    for (const float v : p.grad().data().to_vector<float>()) EXPECT_TRUE(std::isfinite(v));
  Converted result{convert(trained), {}};
  EXPECT_EQ(result.count("QuantizedSoftmax"), 2);
  EXPECT_GT(sqnr(graph, result), 26);
}

// fc(x) * (features of x)^-0.5, as models from elsewhere spell it; without fc, x may have any number of features.
Graph scaled_by_its_size(const Attributes& sample, bool with_fc = true) {
  Graph graph;
  Node* x = graph.add_input("x");
  x->attributes = sample;
  Node* sizes = graph.add_op("sizes", "shape", {}, {x});
  Node* last =
      graph.add_op("last", "slice",
                   {{"axis", int64_t{0}}, {"start", int64_t{1}}, {"stop", int64_t{2}}, {"step", int64_t{1}}}, {sizes});
  Node* number = graph.add_op("number", "cast", {{"dtype", std::string("float32")}}, {last});
  Node* factor = graph.add_op("factor", "pow", {{"exponent", -0.5}}, {number});
  Node* scaled = with_fc ? graph.add_layer("fc", std::make_shared<nn::Linear>(16, 16), {x}) : x;
  graph.set_output(graph.add_op("y", "mul", {}, {scaled, factor}));
  graph.eval();
  return graph;
}

TEST(FoldSizes, NumbersThatFollowFromSizesBecomeConstants) {
  const Tensor example(NDArray::full({2, 16}, 3));
  Graph graph = scaled_by_its_size(nn::sample_attributes(example)), folded = fold_sizes(graph);
  ASSERT_NE(folded.find("factor"), nullptr);
  EXPECT_EQ(folded.find("factor")->kind, Node::Kind::tensor);
  EXPECT_EQ(folded.nodes().size(), 4u) << folded.table();
  EXPECT_EQ(folded(example).data().to_vector<float>(), graph(example).data().to_vector<float>());
  EXPECT_EQ(fold_sizes(folded).table(), folded.table());
}

TEST(FoldSizes, WhatFollowsFromASizeThatIsFreeStays) {
  Graph free = scaled_by_its_size(nn::sample_attributes(Tensor(NDArray::ones({2, 16}))), /*with_fc=*/false);
  Graph folded = fold_sizes(free);
  EXPECT_EQ(folded.table(), free.table());
  const Tensor wide(NDArray::ones({2, 64}));
  EXPECT_EQ(folded(wide).data().to_vector<float>(), std::vector<float>(128, 0.125f));
}

TEST(FoldSizes, WhatDependsOnTheBatchOrIsNotKnownStays) {
  Graph unknown = scaled_by_its_size({});
  EXPECT_EQ(fold_sizes(unknown).table(), unknown.table());
  Graph huge = scaled_by_its_size({{"dtype", std::string("float32")}, {"sample_shape", std::vector<int64_t>{1 << 30}}});
  EXPECT_EQ(fold_sizes(huge).table(), huge.table());
  Graph of_batch = scaled_by_its_size(nn::sample_attributes(Tensor(NDArray::ones({2, 16}))));
  of_batch.find("last")->attributes.set("start", int64_t{0});
  of_batch.find("last")->attributes.set("stop", int64_t{1});
  EXPECT_EQ(fold_sizes(of_batch).table(), of_batch.table());
}

}  // namespace
}  // namespace thimble::quant
