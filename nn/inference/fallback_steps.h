// Inference steps of nodes that have none of their own. Internal.
#pragma once

#include <thimble/nn/inference/inference.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// Calls the layer, which must outlive the step, and copies its answer.
std::unique_ptr<InferenceStep> call_step(Module& layer, std::span<const ValueInfo> inputs);

/// Applies an op: straight to the step's output if it can do that (Op::compute_into), else with a copy.
std::unique_ptr<InferenceStep> op_step(const std::string& op, const Attributes& attributes,
                                       std::span<const ValueInfo> inputs);

/// Copies a flattened image or a view to the usual order, for steps that do not know them.
std::unique_ptr<InferenceStep> usual_order_step(const ValueInfo& input);

}  // namespace thimble::nn
