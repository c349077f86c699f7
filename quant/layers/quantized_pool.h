// Means of integers.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// The mean of each channel: uint8 [n, c, h, w] -> uint8 [n, c, 1, 1] of other parameters, which may be finer than the
/// input's. Sums are exact; then one float multiplication.
class THIMBLE_API QuantizedGlobalAvgPool2d : public IntegerLayer {
 public:
  /// Throws ValueError for parameters that are not sound.
  QuantizedGlobalAvgPool2d(const TensorQParams& input, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedGlobalAvgPool2d"; }
  Attributes attributes() const override;

 private:
  /// Images of at least one pixel.
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  TensorQParams input_, output_;
};

}  // namespace thimble::quant
