#include <thimble/core/ops/elementwise.h>
#include <thimble/nn/inference/conv_step.h>
#include <thimble/nn/inference/linear_step.h>
#include <thimble/nn/layers/fused.h>

namespace thimble::nn {

namespace {
const LayerRegistration fused_registrations[] = {
    {"Conv2dReLU", [](const Attributes& a) { return make_conv2d<Conv2dReLU>(a); }},
    {"LinearReLU", [](const Attributes& a) { return make_linear<LinearReLU>(a); }},
};
}

std::unique_ptr<InferenceStep> Conv2dReLU::inference_step(std::span<const ValueInfo> inputs) const {
  return conv2d_step(weight, bias, options(), true, inputs);
}

Tensor Conv2dReLU::forward(const Tensor& x) { return relu(Conv2d::forward(x)); }

std::unique_ptr<InferenceStep> LinearReLU::inference_step(std::span<const ValueInfo> inputs) const {
  return linear_step(weight, bias, true, inputs);
}

Tensor LinearReLU::forward(const Tensor& x) { return relu(Linear::forward(x)); }

}  // namespace thimble::nn
