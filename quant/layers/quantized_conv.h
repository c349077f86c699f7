// The integer convolution layer.
#pragma once

#include <memory>
#include <optional>

#include <thimble/core/api.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// IntegerProduct of what each output pixel sees of x, uint8 [n, in, h, w], and W, int8 [out, in / groups, kernel
/// height, kernel width]; see nn::Conv2d. Padding is the input's zero point.
class THIMBLE_API QuantizedConv2d : public IntegerProduct {
 public:
  /// Tensors are to come by load_state(). Throws as QuantizedLinear, and ShapeError for groups that do not divide
  /// the output's channels.
  QuantizedConv2d(const Shape& weight_shape, const Conv2dOptions& options, const Quantization& quantization);

  /// Quantizes a float layer's weights and bias.
  static std::shared_ptr<QuantizedConv2d> from_float(const nn::Conv2d& conv, const QuantizationSpec& weight_spec,
                                                     const TensorQParams& input,
                                                     const std::optional<TensorQParams>& output, bool relu);
  /// Quantizes these weights. Throws ValueError for values that are not finite or parameters that integer layers cannot
  /// have.
  static std::shared_ptr<QuantizedConv2d> from_weights(const ProductWeights& weights, const Conv2dOptions& options,
                                                       const TensorQParams& input,
                                                       const std::optional<TensorQParams>& output, bool relu);

  std::string type() const override { return "QuantizedConv2d"; }
  Attributes attributes() const override;
  const Conv2dOptions& options() const { return options_; }

 private:
  std::unique_ptr<ProductKernel> kernel(const nn::ValueInfo& x) const override;
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;

  Conv2dOptions options_;
};

/// A float convolution as an integer one, for inputs and outputs of these parameters; without output parameters it
/// gives float32. Throws ValueError for parameters that are not sound or values that are not finite.
inline std::shared_ptr<QuantizedConv2d> quantize_conv(
    const nn::Conv2d& conv, const TensorQParams& input, const std::optional<TensorQParams>& output = std::nullopt,
    bool relu = false, const QuantizationSpec& weight_spec = QuantizationSpec::per_channel_weight()) {
  return QuantizedConv2d::from_float(conv, weight_spec, input, output, relu);
}

}  // namespace thimble::quant
