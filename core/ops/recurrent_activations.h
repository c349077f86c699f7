// What gates of recurrent layers apply, by name. Internal to core.
#pragma once

#include <vector>

#include <thimble/core/ops/recurrent.h>

namespace thimble {

/// Throws ValueError for an unknown name.
Tensor apply_activation(const GateActivation& activation, const Tensor& x);

void activations_to_attributes(const std::vector<GateActivation>& activations, Attributes& attributes);
/// Throws FormatError for lists of different lengths, and unknown names.
std::vector<GateActivation> activations_from_attributes(const Attributes& attributes);

}  // namespace thimble
