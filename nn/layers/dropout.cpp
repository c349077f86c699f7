#include <thimble/core/ops/dropout.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/layers/dropout.h>

namespace thimble::nn {

namespace {
const LayerRegistration dropout_registration{
    "Dropout", [](const Attributes& a) { return std::make_shared<Dropout>(a.get<double>("p")); }};
}

Dropout::Dropout(double p) : p_(p) { check<ValueError>(p >= 0 && p <= 1, "Dropout: p ", p, " is not in [0, 1]"); }

std::unique_ptr<InferenceStep> Dropout::inference_step(std::span<const ValueInfo> inputs) const {
  return inputs.size() == 1 ? std::make_unique<ViewStep>(inputs[0]) : nullptr;
}

Tensor Dropout::forward(const Tensor& x) { return dropout(x, p_, training()); }

}  // namespace thimble::nn
