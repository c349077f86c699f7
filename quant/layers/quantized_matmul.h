// Products of two values of integers: attention's.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/nn/inference/reads_views.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// a b: uint8 [..., m, k] and [..., k, n], whose first dimensions are broadcast as usual, each with its own parameters
/// -> uint8 [..., m, n]; [k] on the left is a row, on the right a column, as matmul() has it. Sums are exact; then one
/// float multiplication. Transposed and sliced operands are read where they lie.
class THIMBLE_API QuantizedMatMul : public IntegerLayer, public nn::ReadsViews {
 public:
  /// Throws ValueError for parameters that are not sound.
  QuantizedMatMul(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedMatMul"; }
  Attributes attributes() const override;
  /// Not of matrices.
  bool is_per_sample() const override { return false; }

 private:
  /// Operands of at least 1 dimension.
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  TensorQParams a_, b_, output_;
};

}  // namespace thimble::quant
