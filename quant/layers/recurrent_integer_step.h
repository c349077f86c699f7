// The inference step of recurrent layers of integer products. Internal to quant.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <thimble/nn/inference/inference.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/layers/recurrent_rows.h>

namespace thimble::quant {

/// What such a layer is to its step.
struct RecurrentIntegerPlan {
  int64_t input_size, hidden_size, num_layers, directions, states;
  bool batch_first;
  std::vector<RecurrentRowsWeights> weights;  ///< of layer l and direction d at l * directions + d
  std::optional<TensorQParams> input;         ///< of uint8; none: floats, of which each row gets its own range
  int activation_bits;                        ///< of such a row
  std::optional<TensorQParams> output;        ///< none: floats
};

/// Of x, or of x, states and maybe lengths, as nn::RecurrentLayer takes them, which fit the plan.
std::unique_ptr<nn::InferenceStep> recurrent_integer_step(RecurrentIntegerPlan plan,
                                                          std::span<const nn::ValueInfo> inputs);

}  // namespace thimble::quant
