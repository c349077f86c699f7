// Models of recurrent layers, saved and loaded.
#include "tests/serialization/round_trip.h"
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/recurrent.h>

namespace thimble {
namespace {

class RecurrentCheckpoint : public CheckpointTest {};

TEST_F(RecurrentCheckpoint, LayersComeBackWithEveryOption) {
  nn::Sequential model;
  model.emplace<nn::LSTM>(3, 4, nn::LSTM::Options{.num_layers = 2, .dropout = 0.25, .bidirectional = true});
  model.emplace<nn::GRU>(8, 5, nn::GRU::Options{.bias = false, .batch_first = true});
  model.emplace<nn::RNN>(5, 2, nn::RNN::Options{.nonlinearity = nn::Nonlinearity::relu});
  const Tensor x = random_input({6, 2, 3});
  nn::Graph graph = nn::trace(model.eval(), x);
  nn::Graph loaded = expect_round_trip(graph, x);
  for (const auto& [name, layer] : model.children()) {
    ASSERT_NE(loaded.child(name), nullptr) << name;
    EXPECT_EQ(loaded.child(name)->attributes(), layer->attributes());
  }
}

}  // namespace
}  // namespace thimble
