// Layer normalization of integers.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/nn/inference/reads_views.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// nn::LayerNorm of uint8 -> uint8 of other parameters. Mean and variance come from exact sums of integers; then two
/// float multiplications and additions an element. The state holds `weight` and `bias`, float32 of the normalized
/// shape, if it is affine.
class THIMBLE_API QuantizedLayerNorm : public IntegerLayer, public nn::ReadsViews {
 public:
  using Options = nn::LayerNorm::Options;

  /// Tensors are to come by load_state(). Throws ValueError for an empty shape, one of more than 2^18 elements, eps
  /// that is not positive, or parameters that are not sound.
  QuantizedLayerNorm(const Shape& normalized_shape, const Options& options, const TensorQParams& input,
                     const TensorQParams& output);
  /// Whether from_float() takes the layer: it has a positive eps and is of at most 2^18 elements.
  static bool can_be_made_of(const nn::LayerNorm& layer);
  /// With the float layer's tensors. Throws ValueError as above.
  static std::shared_ptr<QuantizedLayerNorm> from_float(const nn::LayerNorm& layer, const TensorQParams& input,
                                                        const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedLayerNorm"; }
  Attributes attributes() const override;
  /// Not where all dimensions are normalized.
  bool is_per_sample() const override { return false; }

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;

  Shape normalized_shape_;
  Options options_;
  TensorQParams input_, output_;
  Tensor weight_, bias_;  // undefined if it is not affine
};

}  // namespace thimble::quant
