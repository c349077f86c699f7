#include <thimble/core/kernels/int8_conv2d.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/quant/quantized_conv.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> conv_from(const Attributes& a) {
  const nn::detail::Conv2dConfiguration c(a);
  return std::make_shared<QuantizedConv2d>(
      Shape{c.out_channels, c.in_channels / c.options.groups, c.kernel.height, c.kernel.width}, c.options,
      QuantizedConv2d::quantization_from(a));
}

const nn::LayerRegistration registration{"QuantizedConv2d", conv_from};

class ConvStep : public nn::InferenceStep {
 public:
  ConvStep(const kernels::Conv2dGeometry& g, DType dtype, std::unique_ptr<kernels::Int8Conv2d> conv,
           uint8_t input_zero_point, Requantization requantization)
      : InferenceStep({{g.batch, g.out_channels, g.out_height, g.out_width}, dtype}),
        conv_(std::move(conv)),
        input_zero_point_(input_zero_point),
        requantization_(std::move(requantization)),
        weight_bytes_(g.out_channels * g.columns()) {}

  int64_t weight_bytes() const override { return weight_bytes_; }
  int64_t scratch_bytes() const override { return conv_->scratch_bytes(output().shape[0]); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const auto* x = static_cast<const uint8_t*>(inputs[0]);
    const int64_t batch = output().shape[0];
    if (output().dtype == DType::uint8)
      conv_->run(x, batch, input_zero_point_, requantization_.epilogue(), static_cast<uint8_t*>(out), scratch);
    else
      conv_->run(x, batch, input_zero_point_, requantization_.epilogue(), static_cast<float*>(out), scratch);
  }

 private:
  std::unique_ptr<kernels::Int8Conv2d> conv_;
  uint8_t input_zero_point_;
  Requantization requantization_;
  int64_t weight_bytes_;
};

}  // namespace

QuantizedConv2d::QuantizedConv2d(const Shape& weight_shape, const Conv2dOptions& options,
                                 const Quantization& quantization)
    : IntegerProduct("QuantizedConv2d", weight_shape, quantization), options_(options) {
  check_conv2d_options("QuantizedConv2d", options);
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
  auto layer = std::make_shared<QuantizedConv2d>(weights.weight.shape(), options,
                                                 Quantization{input, output, weights.qparams.spec.bits, relu});
  layer->load_float(weights);
  return layer;
}

void QuantizedConv2d::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  conv2d_geometry("quantized_conv2d", inputs[0].shape, weight_shape(), options_);
}

std::unique_ptr<nn::InferenceStep> QuantizedConv2d::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  const auto g = conv2d_geometry("quantized_conv2d", inputs[0].shape, weight_shape(), options_);
  const NDArray dense = shifted_weight();
  auto conv = std::make_unique<kernels::Int8Conv2d>(g, dense.data<int8_t>());
  Requantization requantization = this->requantization(conv->channel_sums());
  return std::make_unique<ConvStep>(g, output_dtype(), std::move(conv),
                                    static_cast<uint8_t>(quantization().input.zero_point), std::move(requantization));
}

Attributes QuantizedConv2d::attributes() const {
  Attributes a = quantization_attributes();
  const Shape& w = weight_shape();
  a.set("in_channels", w[1] * options_.groups);
  a.set("out_channels", w[0]);
  a.set("kernel_size", std::vector<int64_t>{w[2], w[3]});
  a.set("bias", true);
  options_.to_attributes(a);
  return a;
}

}  // namespace thimble::quant
