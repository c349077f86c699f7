#include <thimble/core/ops/elementwise.h>
#include <thimble/nn/fused.h>
#include <thimble/nn/linear_step.h>

namespace thimble::nn {

namespace {
const LayerRegistration registration{"LinearReLU", [](const Attributes& a) { return make_linear<LinearReLU>(a); }};
}

std::unique_ptr<InferenceStep> LinearReLU::inference_step(std::span<const ValueInfo> inputs) const {
  return linear_step(weight, bias, true, inputs);
}

Tensor LinearReLU::forward(const Tensor& x) { return relu(Linear::forward(x)); }

}  // namespace thimble::nn
