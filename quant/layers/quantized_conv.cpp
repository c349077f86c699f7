#include <thimble/core/ops/conv_geometry.h>
#include <thimble/quant/layers/quantized_conv.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> conv_from(const Attributes& a) {
  const nn::detail::Conv2dConfiguration c(a);
  return std::make_shared<QuantizedConv2d>(
      Shape{c.out_channels, c.in_channels / c.options.groups, c.kernel.height, c.kernel.width}, c.options,
      QuantizedConv2d::quantization_from(a));
}

const nn::LayerRegistration registration{"QuantizedConv2d", conv_from};

}  // namespace

QuantizedConv2d::QuantizedConv2d(const Shape& weight_shape, const Conv2dOptions& options,
                                 const Quantization& quantization)
    : IntegerProduct("QuantizedConv2d", weight_shape, quantization), options_(options) {
  check_conv2d_options("QuantizedConv2d", options);
  check<ValueError>(quantization.weight_group_size == 0, "QuantizedConv2d: weights in groups of ",
                    quantization.weight_group_size, "; only linear layers have them");
  check<ShapeError>(weight_shape[0] % options.groups == 0, "QuantizedConv2d: ", options.groups,
                    " groups do not divide ", weight_shape[0], " output channels (weight ", weight_shape, ")");
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
  const Shape& w = weights().shape();
  a.set("in_channels", w[1] * options_.groups);
  a.set("out_channels", w[0]);
  a.set("kernel_size", std::vector<int64_t>{w[2], w[3]});
  a.set("bias", true);
  options_.to_attributes(a);
  return a;
}

}  // namespace thimble::quant
