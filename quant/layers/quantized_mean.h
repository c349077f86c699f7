// Means of integers over dimensions.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// mean() over axes, of which none means all: uint8 -> uint8 of other parameters, which may be finer than the input's.
/// Sums are exact; then one float multiplication.
class THIMBLE_API QuantizedMean : public IntegerLayer {
 public:
  /// Negative axes count from the end. Throws ValueError for parameters that are not sound.
  QuantizedMean(const Shape& axes, bool keepdim, const TensorQParams& input, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedMean"; }
  Attributes attributes() const override;
  /// Not where one of the axes is the first.
  bool is_per_sample() const override { return false; }

 private:
  /// Means of at least one element.
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;

  Shape axes_;
  bool keepdim_;
  TensorQParams input_, output_;
};

}  // namespace thimble::quant
