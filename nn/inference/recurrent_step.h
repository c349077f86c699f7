// The inference step of LSTM, GRU and RNN. Internal.
#pragma once

#include <string>
#include <vector>

#include <thimble/core/kernels/recurrent/recurrent_cells.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/layers/recurrent.h>

namespace thimble::nn {

/// What a recurrent layer is to its step.
struct RecurrentPlan {
  std::string type;  ///< of the layer, for errors
  kernels::CellKind kind;
  int64_t input_size, hidden_size, num_layers, directions, states;
  bool batch_first;
  std::vector<RecurrentLayer::Weights> weights;  ///< of layer l and direction d at l * directions + d
};

/// Null for inputs that it cannot take.
std::unique_ptr<InferenceStep> recurrent_step(RecurrentPlan plan, std::span<const ValueInfo> inputs);

}  // namespace thimble::nn
