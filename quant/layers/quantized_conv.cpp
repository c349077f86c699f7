#include <thimble/core/ops/conv_geometry.h>
#include <thimble/quant/layers/product_kernel.h>
#include <thimble/quant/layers/quantized_conv.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> conv_from(const Attributes& a) {
  const nn::detail::Conv2dConfiguration c(a);
  return std::make_shared<QuantizedConv2d>(
      Shape{c.out_channels, c.in_channels / c.options.groups, c.kernel.height, c.kernel.width}, c.options,
      QuantizedConv2d::quantization_from(a));
}

const nn::LayerRegistration quantized_conv_registration{"QuantizedConv2d", conv_from};

}  // namespace

QuantizedConv2d::QuantizedConv2d(const Shape& weight_shape, const Conv2dOptions& options,
                                 const Quantization& quantization)
    : IntegerProduct("QuantizedConv2d", weight_shape, quantization), options_(options) {
  check_conv2d_weights("QuantizedConv2d", weights(), options);
}

std::shared_ptr<QuantizedConv2d> QuantizedConv2d::from_float(const nn::Conv2d& conv,
                                                             const QuantizationSpec& weight_spec,
                                                             const TensorQParams& input,
                                                             const std::optional<TensorQParams>& output, bool relu) {
  return from_weights({conv.weight, conv.bias, choose_qparams(conv.weight.data(), weight_spec)}, conv.options(), input,
                      output, relu);
}

std::shared_ptr<QuantizedConv2d> QuantizedConv2d::from_weights(const ProductWeights& weights,
                                                               const Conv2dOptions& options, const TensorQParams& input,
                                                               const std::optional<TensorQParams>& output, bool relu) {
  const QuantizationSpec& spec = weights.qparams.spec;
  auto layer = std::make_shared<QuantizedConv2d>(weights.weight.shape(), options,
                                                 Quantization{input, output, spec.bits, relu, spec.group_size});
  layer->load_float(weights);
  return layer;
}

void QuantizedConv2d::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  conv2d_geometry("quantized_conv2d", inputs[0].shape, weights().shape(), options_);
}

std::unique_ptr<ProductKernel> QuantizedConv2d::kernel(const nn::ValueInfo& x) const {
  return conv2d_kernel("quantized_conv2d", weights(), x, options_);
}

Attributes QuantizedConv2d::attributes() const {
  Attributes a = quantization_attributes();
  conv2d_attributes(a, weights(), options_);
  a.set("bias", true);
  return a;
}

}  // namespace thimble::quant
