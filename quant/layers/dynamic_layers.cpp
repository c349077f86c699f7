#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/ops/conv_geometry.h>
#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/layers/dynamic_step.h>

namespace thimble::quant {

namespace {

constexpr const char* kDynamicRange = "dynamic_range";

const nn::LayerRegistration dynamic_layers_registrations[] = {
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

// Sums take at most 65536 * 255 * 128 < 2^31 - 2^15, and half of what they leave is enough for a bias.
double finest_integer_bias(const std::vector<float>& steps, const std::vector<float>& bias,
                           const IntegerWeights& weights) {
  const double limit = 0.5 * static_cast<double>(integer_bias_limit(weights.k()));
  const NDArray rows = weights.unpacked().read_once().contiguous();
  double finest = 0;
  for (size_t c = 0; c < bias.size(); ++c) {
    if (bias[c] == 0) continue;
    const int8_t* row = rows.data<int8_t>() + static_cast<int64_t>(c) * weights.k();
    // A channel that is switched off has weights of any scale: its bias is no number of such steps.
    const bool all_zero = std::all_of(row, row + weights.group_end(0), [](int8_t w) { return w == 0; });
    finest = std::max(
        finest, all_zero ? std::numeric_limits<double>::infinity() : std::abs(double{bias[c]}) / (steps[c] * limit));
  }
  return finest;
}

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
  NamedArrays arrays{{"weight", state.values}, {"weight_scale", state.scale}};
  if (options_.bias) arrays.emplace_back("bias", float_weights.bias.data().clone());
  load_state(arrays);
}

DynamicConstants DynamicProduct::constants() const {
  DynamicConstants constants{.steps = weights_.steps()};
  if (bias_.defined()) constants.bias = bias_.data().to_vector<float>();
  for (const float b : constants.bias) check<ValueError>(std::isfinite(b), type_, ": bias ", b, " is not finite");
  return constants;
}

void DynamicProduct::state_changed() {
  IntegerLayer::state_changed();
  (void)constants();  // throws for scales and biases that are none
  loaded_ = true;
}

std::unique_ptr<nn::InferenceStep> DynamicProduct::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  check<ValueError>(loaded_, type_, ": it has no weights yet");
  std::unique_ptr<ProductKernel> sums = kernel(inputs[0]);
  if (!sums) return nullptr;
  DynamicConstants constants = this->constants();
  if (options_.range == DynamicRange::call)
    constants.finest_integer_bias = finest_integer_bias(constants.steps, constants.bias, weights_);
  return dynamic_step(inputs[0], std::move(sums), options_.range, options_.activation_bits, options_.relu,
                      std::move(constants));
}

void DynamicProduct::check_one_float(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 1, type_, ": takes one input, got ", inputs.size());
  check<DTypeError>(inputs[0].dtype == DType::float32, type_, ": expects float32 input, got ", inputs[0].dtype);
}

Attributes DynamicProduct::options_attributes() const {
  Attributes a{{"activation_bits", int64_t{options_.activation_bits}},
               {"relu", options_.relu},
               {"bias", options_.bias},
               {kDynamicRange, std::string(quant::name(options_.range))}};
  options_.weight.to_attributes(a);
  return a;
}

DynamicProduct::Options DynamicProduct::options_from(const Attributes& a) {
  const auto bits = a.get<int64_t>("activation_bits");
  check<FormatError>(bits >= 2 && bits <= 8, "attribute 'activation_bits' is ", bits, ", expected 2 to 8");
  const auto range = a.get<std::string>(kDynamicRange, std::string(quant::name(DynamicRange::call)));
  check<FormatError>(range == quant::name(DynamicRange::row) || range == quant::name(DynamicRange::call), "attribute '",
                     kDynamicRange, "' is '", range, "', expected 'row' or 'call'");
  return {IntegerWeights::Format::from_attributes(a), static_cast<int>(bits), a.get<bool>("relu"), a.get<bool>("bias"),
          dynamic_range_from_name(range)};
}

namespace {

DynamicProduct::Options options_for(const ProductWeights& weights, int activation_bits, bool relu, DynamicRange range) {
  const QuantizationSpec& spec = weights.qparams.spec;
  return {{spec.bits, spec.group_size}, activation_bits, relu, weights.bias.defined(), range};
}

}  // namespace

DynamicQuantizedLinear::DynamicQuantizedLinear(int64_t in_features, int64_t out_features, const Options& options)
    : DynamicProduct("DynamicQuantizedLinear", {out_features, in_features}, options) {}

std::shared_ptr<DynamicQuantizedLinear> DynamicQuantizedLinear::from_weights(const ProductWeights& weights,
                                                                             int activation_bits, bool relu,
                                                                             DynamicRange range) {
  const Shape& shape = weights.weight.shape();
  auto layer =
      std::make_shared<DynamicQuantizedLinear>(shape[1], shape[0], options_for(weights, activation_bits, relu, range));
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
                                                                             int activation_bits, bool relu,
                                                                             DynamicRange range) {
  auto layer = std::make_shared<DynamicQuantizedConv2d>(weights.weight.shape(), conv_options,
                                                        options_for(weights, activation_bits, relu, range));
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
