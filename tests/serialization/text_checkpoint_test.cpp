// Models of text, saved and loaded.
#include <gtest/gtest.h>

#include "tests/serialization/round_trip.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/transformer.h>

namespace thimble {
namespace {

using TextCheckpoint = CheckpointTest;

TEST_F(TextCheckpoint, BagsOfWordsComeBackWithEveryOption) {
  const Tensor index = NDArray::from_vector<int64_t>({3, 2, 0, 5, 2, 1}, {2, 3});
  for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max}) {
    nn::Sequential model(nn::EmbeddingBag(6, 4, {mode, 2}), nn::Linear(4, 3));
    nn::Graph graph = nn::trace(model.eval(), index);
    nn::Graph loaded = expect_round_trip(graph, index);
    EXPECT_EQ(loaded(index).data().to_vector<float>(), model(index).data().to_vector<float>());
  }
  nn::Sequential words(nn::Embedding(6, 4, {.padding_idx = 2}), nn::Linear(4, 3));
  nn::Graph graph = nn::trace(words.eval(), index);
  const nn::Graph loaded = expect_round_trip(graph, index);
  EXPECT_EQ(loaded.layer(loaded.nodes()[1]).attributes().get<int64_t>("padding_idx"), 2);
}

TEST_F(TextCheckpoint, EncodersComeBack) {
  struct Classifier : nn::Module {
    nn::Submodule<nn::Embedding> words{this, "words", 6, 8, nn::Embedding::Options{.padding_idx = 0}};
    nn::Submodule<nn::TransformerEncoder> encoder{
        this, "encoder",
        8,    2,
        2,    nn::TransformerEncoder::Options{.layer = {.dim_feedforward = 12, .batch_first = true}, .norm = true}};
    nn::Submodule<nn::Linear> head{this, "head", 8, 3};
    Tensor forward(const Tensor& tokens) override {
      const Tensor padding = equal(tokens, Tensor::scalar(0, DType::int64));
      return head(mean(encoder(words(tokens), Tensor(), padding), {1}));
    }
  } model;
  const Tensor index = NDArray::from_vector<int64_t>({3, 2, 0, 5, 0, 0}, {2, 3});
  nn::Graph graph = nn::trace(model.eval(), index);
  nn::Graph loaded = expect_round_trip(graph, index);
  const Tensor other = NDArray::from_vector<int64_t>({1, 2, 3, 4, 5, 4, 3, 0}, {1, 8});
  EXPECT_EQ(loaded(other).data().to_vector<float>(), graph(other).data().to_vector<float>());
}

}  // namespace
}  // namespace thimble
