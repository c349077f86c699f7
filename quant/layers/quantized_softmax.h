// softmax of integers.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/nn/inference/reads_views.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// exp(x) / sum of exp(x) along an axis: uint8 of any shape of at least one dimension -> uint8 of other parameters.
/// Exponentials are integers of a table, about 2^22 * exp(x - max of x), and their sums exact; then one float
/// multiplication.
class THIMBLE_API QuantizedSoftmax : public IntegerLayer, public nn::ReadsViews {
 public:
  /// A negative axis counts from the end. Throws ValueError for parameters that are not sound.
  QuantizedSoftmax(int64_t axis, const TensorQParams& input, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedSoftmax"; }
  Attributes attributes() const override;
  /// Not where it is the first axis.
  bool is_per_sample() const override { return false; }

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  int64_t axis_;
  TensorQParams input_, output_;
};

}  // namespace thimble::quant
