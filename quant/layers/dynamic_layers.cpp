#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/reduce/min_max.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/quant/layers/dynamic_layers.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration registrations[] = {
    {"DynamicQuantizedLinear",
     [](const Attributes& a) {
       return std::make_shared<DynamicQuantizedLinear>(a.get<int64_t>("in_features"), a.get<int64_t>("out_features"),
                                                       DynamicProduct::options_from(a));
     }},
    {"DynamicQuantizedConv2d",
     [](const Attributes& a) {
       const nn::detail::Conv2dConfiguration c(a);
       return std::make_shared<DynamicQuantizedConv2d>(
           Shape{c.out_channels, c.in_channels / c.options.groups, c.kernel.height, c.kernel.width}, c.options,
           DynamicProduct::options_from(a));
     }},
};

// A bias that dwarfs its sums could leave int32: the input's scale must not be finer than this. Sums take at most
// 65536 * 255 * 128 < 2^31 - 2^15, and half of what they leave is enough.
float finest_input_scale(const std::vector<float>& steps, const std::vector<float>& bias, int64_t k) {
  const double limit = 0.5 * static_cast<double>(std::numeric_limits<int32_t>::max() - k * 255 * 128);
  double finest = std::numeric_limits<float>::min();
  for (size_t c = 0; c < bias.size(); ++c) finest = std::max(finest, std::abs(double{bias[c]}) / (steps[c] * limit));
  check<ValueError>(finest <= std::numeric_limits<float>::max(), "dynamic quantization: a bias is ", finest,
                    " times its weights' scale");
  return static_cast<float>(finest);
}

class DynamicStep : public nn::InferenceStep {
 public:
  DynamicStep(const nn::ValueInfo& x, std::unique_ptr<ProductKernel> kernel, const DynamicProduct::Options& options,
              std::vector<float> steps, std::vector<float> bias, int64_t k)
      : InferenceStep({kernel->output_shape(), DType::float32}),
        elements_(x.shape.numel()),
        kernel_(std::move(kernel)),
        spec_(QuantizationSpec::activation(options.activation_bits)),
        relu_(options.relu),
        steps_(std::move(steps)),
        bias_(std::move(bias)),
        finest_(finest_input_scale(steps_, bias_, k)) {}

  bool is_per_sample() const override { return false; }
  int64_t weight_bytes() const override { return kernel_->weight_bytes(); }
  int64_t scratch_bytes() const override { return x_bytes() + 2 * constants_bytes() + kernel_->scratch_bytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const auto* x = static_cast<const float*>(inputs[0]);
    auto* y = static_cast<float*>(out);
    float low = 0, high = 0;
    if (elements_ > 0 && !kernels::min_max(x, {1, 1, elements_}, &low, &high)) {
      std::fill_n(y, output().shape.numel(), std::numeric_limits<float>::quiet_NaN());
      return;
    }
    const TensorQParams p = qparams(std::min(low, 0.0f), std::max(high, 0.0f));
    auto* integers = scratch;
    auto* bias = reinterpret_cast<int32_t*>(scratch + x_bytes());
    auto* multiplier = reinterpret_cast<float*>(scratch + x_bytes() + constants_bytes());
    kernels::quantize(x, elements_, {p.scale, p.zero_point, spec_.qmin(), spec_.qmax()}, integers);
    fill_constants(p, bias, multiplier);
    const kernels::Int8Epilogue epilogue{.bias = bias, .multiplier = multiplier, .relu = relu_};
    kernel_->run(integers, static_cast<uint8_t>(p.zero_point), epilogue, y,
                 scratch + x_bytes() + 2 * constants_bytes());
  }

 private:
  static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  int64_t x_bytes() const { return aligned(elements_); }
  int64_t constants_bytes() const { return aligned(std::ssize(steps_) * 4); }

  // Those of choose_qparams(), unless the bias needs a coarser scale. Zeros alone are themselves at any scale: the
  // finest rounds the bias least.
  TensorQParams qparams(float low, float high) const {
    const bool all_zero = low == 0 && high == 0;
    const float scale = all_zero ? finest_ : std::max(choose_scale(low, high, spec_), finest_);
    return {scale, choose_zero_point(low, scale, spec_), spec_.bits};
  }

  void fill_constants(const TensorQParams& p, int32_t* bias, float* multiplier) const {
    const std::span<const int32_t> sums = kernel_->sums();
    for (size_t i = 0; i < steps_.size(); ++i) {
      multiplier[i] = p.scale * steps_[i];
      const double own = i < bias_.size() ? std::nearbyint(bias_[i] / (double{p.scale} * double{steps_[i]})) : 0;
      bias[i] = static_cast<int32_t>(own) - p.zero_point * sums[i];
    }
  }

  int64_t elements_;
  std::unique_ptr<ProductKernel> kernel_;
  QuantizationSpec spec_;
  bool relu_;
  std::vector<float> steps_, bias_;  // [groups][out]; [out] or empty
  float finest_;                     // scale of inputs
};

}  // namespace

DynamicProduct::DynamicProduct(const char* type, const Shape& weight_shape, const Options& options)
    : type_(type), options_(options), weights_(type, weight_shape, options.weight) {
  check_bits(options.activation_bits, str(type, ": activations"));
  register_buffer("weight", weights_.values());
  register_buffer("weight_scale", weights_.scale());
  if (options.bias) bias_ = register_buffer("bias", NDArray::placeholder({weight_shape[0]}));
}

void DynamicProduct::load_float(const ProductWeights& float_weights) {
  const IntegerWeights::State state = weights_.quantize(float_weights.weight.data(), float_weights.qparams);
  std::vector<std::pair<std::string, NDArray>> arrays{{"weight", state.values}, {"weight_scale", state.scale}};
  if (options_.bias) arrays.emplace_back("bias", float_weights.bias.data().clone());
  load_state(arrays);
}

void DynamicProduct::state_changed() {
  IntegerLayer::state_changed();
  (void)weights_.steps();  // throws for scales that are none
  if (bias_.defined())
    for (const float b : bias_.data().to_vector<float>())
      check<ValueError>(std::isfinite(b), type_, ": bias ", b, " is not finite");
  loaded_ = true;
}

std::unique_ptr<nn::InferenceStep> DynamicProduct::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  check<ValueError>(loaded_, type_, ": it has no weights yet");
  std::unique_ptr<ProductKernel> sums = kernel(inputs[0]);
  if (!sums) return nullptr;
  return std::make_unique<DynamicStep>(inputs[0], std::move(sums), options_, weights_.steps(),
                                       bias_.defined() ? bias_.data().to_vector<float>() : std::vector<float>(),
                                       weights_.k());
}

void DynamicProduct::check_one_float(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 1, type_, ": takes one input, got ", inputs.size());
  check<DTypeError>(inputs[0].dtype == DType::float32, type_, ": expects float32 input, got ", inputs[0].dtype);
}

Attributes DynamicProduct::options_attributes() const {
  Attributes a{
      {"activation_bits", int64_t{options_.activation_bits}}, {"relu", options_.relu}, {"bias", options_.bias}};
  options_.weight.to_attributes(a);
  return a;
}

DynamicProduct::Options DynamicProduct::options_from(const Attributes& a) {
  const auto bits = a.get<int64_t>("activation_bits");
  check<FormatError>(bits >= 2 && bits <= 8, "attribute 'activation_bits' is ", bits, ", expected 2 to 8");
  return {IntegerWeights::Format::from_attributes(a), static_cast<int>(bits), a.get<bool>("relu"), a.get<bool>("bias")};
}

namespace {

DynamicProduct::Options options_for(const ProductWeights& weights, int activation_bits, bool relu) {
  const QuantizationSpec& spec = weights.qparams.spec;
  return {{spec.bits, spec.group_size}, activation_bits, relu, weights.bias.defined()};
}

}  // namespace

DynamicQuantizedLinear::DynamicQuantizedLinear(int64_t in_features, int64_t out_features, const Options& options)
    : DynamicProduct("DynamicQuantizedLinear", {out_features, in_features}, options) {}

std::shared_ptr<DynamicQuantizedLinear> DynamicQuantizedLinear::from_weights(const ProductWeights& weights,
                                                                             int activation_bits, bool relu) {
  const Shape& shape = weights.weight.shape();
  auto layer =
      std::make_shared<DynamicQuantizedLinear>(shape[1], shape[0], options_for(weights, activation_bits, relu));
  layer->load_float(weights);
  return layer;
}

void DynamicQuantizedLinear::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_float(inputs);
  const Shape& x = inputs[0].shape;
  check<ShapeError>(x.ndim() >= 1 && x.back() == weights().k(), "dynamic_quantized_linear: weight ", weights().shape(),
                    " expects ", weights().k(), " features, got ", x, " input");
}

std::unique_ptr<ProductKernel> DynamicQuantizedLinear::kernel(const nn::ValueInfo& x) const {
  return linear_kernel(weights(), x);
}

Attributes DynamicQuantizedLinear::attributes() const {
  Attributes a = options_attributes();
  a.set("in_features", weights().shape()[1]);
  a.set("out_features", weights().shape()[0]);
  return a;
}

DynamicQuantizedConv2d::DynamicQuantizedConv2d(const Shape& weight_shape, const Conv2dOptions& conv_options,
                                               const Options& options)
    : DynamicProduct("DynamicQuantizedConv2d", weight_shape, options), conv_options_(conv_options) {
  check_conv2d_weights("DynamicQuantizedConv2d", weights(), conv_options);
}

std::shared_ptr<DynamicQuantizedConv2d> DynamicQuantizedConv2d::from_weights(const ProductWeights& weights,
                                                                             const Conv2dOptions& conv_options,
                                                                             int activation_bits, bool relu) {
  auto layer = std::make_shared<DynamicQuantizedConv2d>(weights.weight.shape(), conv_options,
                                                        options_for(weights, activation_bits, relu));
  layer->load_float(weights);
  return layer;
}

void DynamicQuantizedConv2d::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_float(inputs);
  conv2d_geometry("dynamic_quantized_conv2d", inputs[0].shape, weights().shape(), conv_options_);
}

std::unique_ptr<ProductKernel> DynamicQuantizedConv2d::kernel(const nn::ValueInfo& x) const {
  return conv2d_kernel("dynamic_quantized_conv2d", weights(), x, conv_options_);
}

Attributes DynamicQuantizedConv2d::attributes() const {
  Attributes a = options_attributes();
  conv2d_attributes(a, weights(), conv_options_);
  return a;
}

}  // namespace thimble::quant
