// Layers that a fusion pass makes of two.
#pragma once

#include <thimble/nn/linear.h>

namespace thimble::nn {

/// relu(linear(x)) as one layer.
class LinearReLU : public Linear {
 public:
  using Linear::Linear;
  Tensor forward(const Tensor& x) override;
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "LinearReLU"; }
};

}  // namespace thimble::nn
