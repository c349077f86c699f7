// Inference steps of nodes that have none of their own. Internal.
#pragma once

#include <thimble/nn/graph/node_call.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

/// Calls the layer or applies the op: straight to the step's output if it can do that (Op::compute_into), else with a
/// copy of the answer. Throws what the call throws for inputs of zeros.
std::unique_ptr<InferenceStep> fallback_step(const NodeCall& call, std::span<const ValueInfo> inputs);

/// Copies a flattened image or a view to the usual order, for steps that do not know them.
std::unique_ptr<InferenceStep> usual_order_step(const ValueInfo& input);

}  // namespace thimble::nn
