// Group and instance normalization of integers.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// nn::GroupNorm, [n, channels, ...] of uint8 -> uint8 of other parameters. Mean and variance of a group come from
/// exact sums of integers; then a float subtraction, multiplication and addition an element. The state holds `weight`
/// and `bias`, float32 [channels], if it is affine.
class THIMBLE_API QuantizedGroupNorm : public IntegerLayer {
 public:
  /// What may follow the numbers of groups and channels.
  using Options = nn::GroupNorm::Options;

  /// Tensors are to come by load_state(). Throws ValueError for numbers below 1, groups that do not divide the
  /// channels, eps that is not positive, or parameters that are not sound.
  QuantizedGroupNorm(int64_t num_groups, int64_t num_channels, const Options& options, const TensorQParams& input,
                     const TensorQParams& output);
  /// With the float layer's tensors. Throws ValueError as above.
  static std::shared_ptr<QuantizedGroupNorm> from_float(const nn::GroupNorm& layer, const TensorQParams& input,
                                                        const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedGroupNorm"; }
  Attributes attributes() const override;

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;

  int64_t num_groups_, num_channels_;
  Options options_;
  TensorQParams input_, output_;
  Tensor weight_, bias_;  // undefined if it is not affine
};

}  // namespace thimble::quant
