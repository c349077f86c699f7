// Dropout as a layer: active in training mode only.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// In training, each element is 0 with probability p, and those that are left are divided by 1 - p.
class THIMBLE_API Dropout : public Module {
 public:
  /// Throws ValueError for p outside [0, 1].
  explicit Dropout(double p = 0.5);
  Tensor forward(const Tensor& x) override;
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  bool is_per_sample() const override { return true; }
  std::string type() const override { return "Dropout"; }
  Attributes attributes() const override { return {{"p", p_}}; }

 private:
  double p_;
};

}  // namespace thimble::nn
