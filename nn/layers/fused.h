// Layers that a fusion pass makes of two. A fused layer is called what its parts are called: Conv2dReLU is a Conv2d
// with relu behind it, of the same configuration and tensors.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {

/// relu(conv2d(x)) as one layer.
class THIMBLE_API Conv2dReLU : public Conv2d {
 public:
  using Conv2d::Conv2d;
  Tensor forward(const Tensor& x) override;
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "Conv2dReLU"; }
};

/// relu(linear(x)) as one layer.
class THIMBLE_API LinearReLU : public Linear {
 public:
  using Linear::Linear;
  Tensor forward(const Tensor& x) override;
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "LinearReLU"; }
};

}  // namespace thimble::nn
