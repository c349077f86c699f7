// Integers that stand for other numbers.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/nn/inference/reads_views.h>
#include <thimble/nn/module.h>

namespace thimble::quant {

/// x * factor, of uint8 of any shape: the same integers, of another scale. Nothing is computed.
class THIMBLE_API QuantizedScale : public nn::Module, public nn::ReadsViews {
 public:
  /// Throws ValueError unless the factor is positive and finite.
  explicit QuantizedScale(double factor);
  Tensor forward(const Tensor& x) override;
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedScale"; }
  Attributes attributes() const override { return {{"factor", factor_}}; }
  bool is_per_sample() const override { return true; }

 private:
  double factor_;
};

}  // namespace thimble::quant
