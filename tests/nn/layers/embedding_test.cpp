// Embedding and EmbeddingBag as layers: padding, training, tracing, the executor.
#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::nn {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<float> floats(const Tensor& t) { return t.data().to_vector<float>(); }

Tensor tokens(const Shape& shape, int64_t below, uint64_t seed) {
  Generator generator(seed);
  std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
  for (int64_t& v : values) v = static_cast<int64_t>(generator.below(static_cast<uint64_t>(below)));
  return NDArray::from_vector(values, shape);
}

Tensor integers(const std::vector<int64_t>& values) { return NDArray::from_vector(values); }

TEST(EmbeddingLayers, TheRowOfPaddingIsZeroAndStaysSo) {
  manual_seed(1);
  Embedding words(6, 3, {.padding_idx = -2});
  EmbeddingBag bag(6, 3, {.mode = BagMode::sum, .padding_idx = 4});
  EXPECT_EQ(words.padding_idx(), 4);
  optim::SGD sgd({words.weight, bag.weight}, {.lr = 0.5});
  const Tensor index = tokens({5, 4}, 6, 2);
  sum(words(index)).backward();
  sum(bag(index)).backward();
  sgd.step();
  for (const Tensor& table : {words.weight, bag.weight}) {
    EXPECT_EQ(floats(table.data().slice(0, 4, 5)), std::vector<float>(3, 0));
    EXPECT_NE(floats(table.data().slice(0, 0, 1)), std::vector<float>(3, 0));
  }
  EXPECT_EQ(floats(bag(integers({4, 4}).data().reshape({1, 2}))), std::vector<float>(3, 0));
}

TEST(EmbeddingLayers, GivenTablesStayAsTheyAre) {
  const NDArray ones = NDArray::ones({3, 2});
  EXPECT_EQ(floats(Embedding(Tensor(ones), {.padding_idx = 0}).weight), std::vector<float>(6, 1));
  EXPECT_EQ(floats(EmbeddingBag(Tensor(ones), {.padding_idx = 0}).weight), std::vector<float>(6, 1));
}

TEST(EmbeddingLayers, AreCopiedByTypeAndAttributes) {
  Embedding words(6, 3, {.padding_idx = 2});
  const auto copy = copy_layer(words);
  EXPECT_EQ(copy->attributes(), words.attributes());
  EXPECT_EQ(dynamic_cast<const Embedding&>(*copy).padding_idx(), 2);
  EXPECT_EQ(copy_layer(Embedding(6, 3))->attributes(), Embedding(6, 3).attributes());
  for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max}) {
    EmbeddingBag bag(6, 3, {mode, -1});
    const auto other = copy_layer(bag);
    EXPECT_EQ(other->attributes(), bag.attributes());
    const Tensor index = tokens({4, 5}, 6, 3);
    EXPECT_EQ(floats((*other)(index)), floats(bag(index)));
  }
}

TEST(EmbeddingLayers, RefuseWhatDoesNotFit) {
  const auto refused = [](const auto& f, const std::string& text) {
    EXPECT_THAT([&] { f(); }, ThrowsMessage<Error>(HasSubstr(text)));
  };
  refused([] { Embedding(0, 3); }, "Embedding: num_embeddings 0 and embedding_dim 3 must be at least 1");
  refused([] { EmbeddingBag(3, 0); }, "EmbeddingBag: num_embeddings 3 and embedding_dim 0 must be at least 1");
  refused([] { Embedding(3, 2, {.padding_idx = 3}); }, "Embedding: padding_idx 3 is out of range for 3 embeddings");
  refused([] { EmbeddingBag(Tensor(NDArray::ones({3}))); },
          "EmbeddingBag: weight must be [num_embeddings, embedding_dim], got [3]");
  refused([] { make_layer("EmbeddingBag", {{"num_embeddings", int64_t{3}}, {"embedding_dim", int64_t{2}}}); }, "mode");
  refused(
      [] {
        make_layer("EmbeddingBag",
                   {{"num_embeddings", int64_t{3}}, {"embedding_dim", int64_t{2}}, {"mode", std::string("median")}});
      },
      "median");
  refused(
      [] {
        make_layer("Embedding",
                   {{"num_embeddings", int64_t{3}}, {"embedding_dim", int64_t{2}}, {"padding_idx", int64_t{3}}});
      },
      "Embedding: padding_idx 3 is no row of the table");
  EmbeddingBag bag(3, 2);
  refused([&] { bag(integers({1, 2})); }, "or [entries] with offsets");
}

TEST(EmbeddingLayers, HaveAStepOfTheirOwn) {
  const ValueInfo index{{4, 3}, DType::int64}, entries{{12}, DType::int32}, offsets{{2}, DType::int32}, factors{{12}};
  EXPECT_NE(Embedding(9, 6).inference_step(std::array{index}), nullptr);
  const EmbeddingBag bag(9, 6, {.mode = BagMode::sum});
  EXPECT_NE(bag.inference_step(std::array{index}), nullptr);
  EXPECT_NE(bag.inference_step(std::array{entries, offsets}), nullptr);
  EXPECT_NE(bag.inference_step(std::array{entries, offsets, factors}), nullptr);
}

struct BagOfWords : Module {
  explicit BagOfWords(EmbeddingBag::Options options) : words{this, "words", 50, 24, options} {}
  Submodule<EmbeddingBag> words;
  Submodule<Linear> fc{this, "fc", 24, 5};
  Tensor forward_all(std::span<const Tensor> inputs) override {
    return fc(relu(inputs.size() == 1 ? words(inputs[0]) : words(inputs[0], inputs[1])));
  }
};

// Node by node.
NDArray interpreted(Graph& graph, const std::vector<Tensor>& inputs) { return graph.run_all(inputs).back().data(); }

TEST(EmbeddingLayers, TheExecutorGivesWhatTheModuleGives) {
  const int before = num_threads();
  for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max}) {
    BagOfWords model({mode, 0});
    Graph graph = trace(model.eval(), tokens({2, 7}, 50, 4));
    EXPECT_TRUE(graph.is_layer(graph.find("words"), "EmbeddingBag"));
    const NoGrad guard;
    Executor executor(graph);
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      for (const Shape& shape : {Shape{1, 7}, Shape{64, 7}, Shape{3, 20}, Shape{2, 1}}) {
        for (const DType dtype : {DType::int64, DType::int32}) {
          const Tensor index = tokens(shape, 50, 5).data().to(dtype);
          EXPECT_EQ(floats(executor.run(graph, std::vector<Tensor>{index})[0]), floats(model(index)));
        }
      }
    }
    set_num_threads(before);
    EXPECT_THAT(
        [&] {
          executor.run(graph, std::vector<Tensor>{tokens({2, 7}, 50, 4).data().to(DType::int64).clone() +
                                                  Tensor(NDArray::full({2, 7}, 50, DType::int64))});
        },
        ThrowsMessage<ValueError>(HasSubstr("is out of range for size 50")));
  }
}

TEST(EmbeddingLayers, BagsWithOffsetsAreTraced) {
  BagOfWords model({.mode = BagMode::sum});
  // As many entries as bags at first, so that taking entries for samples would fit.
  Graph graph = trace(model.eval(), {integers({3, 1, 2, 9}), integers({0, 0, 2, 3})});
  const NoGrad guard;
  Executor executor(graph);
  for (const int64_t entries : {0, 3, 100}) {
    const std::vector<Tensor> inputs{tokens({entries}, 50, 6), integers({0, 0, entries / 2})};
    const Tensor y = executor.run(graph, inputs)[0];
    EXPECT_EQ(y.shape(), (Shape{3, 5}));
    EXPECT_EQ(floats(y), floats(model(inputs[0], inputs[1])));
    EXPECT_EQ(floats(y), interpreted(graph, inputs).to_vector<float>());
  }
}

TEST(EmbeddingLayers, FactorsOfRowsComeLast) {
  EmbeddingBag bag(9, 4, {.mode = BagMode::sum});
  bag.eval();
  const Tensor flat = tokens({6}, 9, 7), factors = randn({6}, default_generator());
  const Tensor index = reshape(flat, {2, 3}), of_index = reshape(factors, {2, 3}), offsets = integers({0, 3});
  const auto expected = floats(sum(embedding(index, bag.weight) * unsqueeze(of_index, 2), {1}));
  const auto got = floats(bag(index, of_index));
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5);
  EXPECT_EQ(floats(bag(flat, offsets, factors)), got);
  Graph graph = trace(bag, {flat, offsets, factors});
  const NoGrad guard;
  EXPECT_EQ(floats(Executor(graph).run(graph, std::vector<Tensor>{flat, offsets, factors})[0]), got);
  Graph of_rows = trace(bag, {index, of_index});
  EXPECT_EQ(floats(Executor(of_rows).run(of_rows, std::vector<Tensor>{index, of_index})[0]), got);
}

TEST(EmbeddingLayers, RowsAreReadByTheExecutor) {
  struct Net : Module {
    Submodule<Embedding> words{this, "words", 30, 8, Embedding::Options{.padding_idx = 0}};
    Tensor forward(const Tensor& x) override { return mean(words(x), {-2}); }
  } net;
  Graph graph = trace(net.eval(), tokens({2, 3}, 30, 8));
  const NoGrad guard;
  Executor executor(graph);
  for (const Shape& shape : {Shape{1, 3}, Shape{40, 5}, Shape{6}, Shape{2, 3, 4}}) {
    const Tensor index = tokens(shape, 30, 9);
    EXPECT_EQ(floats(executor.run(graph, std::vector<Tensor>{index})[0]), floats(net(index))) << shape;
  }
}

}  // namespace
}  // namespace thimble::nn
