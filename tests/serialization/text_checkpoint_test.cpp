// Models of text, saved and loaded.
#include <gtest/gtest.h>

#include "tests/serialization/round_trip.h"
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>

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

}  // namespace
}  // namespace thimble
