#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/quantize.h>
#include <thimble/quant/quantized_linear.h>

namespace thimble::quant {

namespace {

void check_qparams(const char* what, const TensorQParams& p) {
  check<ValueError>(std::isfinite(p.scale) && p.scale > 0, what, ": scale ", p.scale, " is not positive and finite");
  check_bits(p.bits, what);
  check<ValueError>(p.zero_point >= 0 && p.zero_point < (1 << p.bits), what, ": zero point ", p.zero_point,
                    " is not in [0, ", (1 << p.bits) - 1, "]");
}

void put(Attributes& attributes, const std::string& prefix, const TensorQParams& p) {
  attributes.set(prefix + "scale", double{p.scale});
  attributes.set(prefix + "zero_point", int64_t{p.zero_point});
  attributes.set(prefix + "bits", int64_t{p.bits});
}

int small_int(const Attributes& attributes, const std::string& key) {
  const auto value = attributes.get<int64_t>(key);
  check<FormatError>(value >= 0 && value <= 255, "attribute '", key, "' is ", value, ", expected 0 to 255");
  return static_cast<int>(value);
}

TensorQParams get(const Attributes& a, const std::string& prefix) {
  return {static_cast<float>(a.get<double>(prefix + "scale")), small_int(a, prefix + "zero_point"),
          small_int(a, prefix + "bits")};
}

std::shared_ptr<nn::Module> linear_from(const Attributes& a) {
  return std::make_shared<QuantizedLinear>(QuantizedLinear::Config{
      .in_features = a.get<int64_t>("in_features"),
      .out_features = a.get<int64_t>("out_features"),
      .input = get(a, "input_"),
      .output = a.contains("output_scale") ? std::optional(get(a, "output_")) : std::nullopt,
      .weight_bits = small_int(a, "weight_bits"),
      .relu = a.get<bool>("relu"),
  });
}

const nn::LayerRegistration registrations[] = {
    {"QuantizedLinear", linear_from},
    {"Quantize", [](const Attributes& a) { return std::make_shared<Quantize>(get(a, "")); }},
    {"Dequantize", [](const Attributes& a) { return std::make_shared<Dequantize>(get(a, "")); }},
};

// How large a quantized bias may be, so that it and any sum of k products fit int32.
int64_t bias_limit(int64_t k) { return std::numeric_limits<int32_t>::max() - k * 255 * 128; }

// The scale of a channel's weights, given the one that suits the weights alone: it is the bias's scale too. A bias that
// dwarfs its weights could leave int32, so the scale gets coarser; where all weights are zero, any scale suits them,
// and the finest keeps the bias exact.
float channel_scale(float for_weights, bool all_zero, float bias, float input_scale, int64_t k) {
  const double least = std::abs(double{bias}) / (double{input_scale} * static_cast<double>(bias_limit(k)) * 0.999);
  const float finest = std::max(static_cast<float>(least), std::numeric_limits<float>::min());
  return all_zero && bias != 0 ? finest : std::max(for_weights, finest);
}

}  // namespace

TensorQParams TensorQParams::from(const QParams& p) {
  check<ValueError>(p.scale.size() == 1 && !p.spec.is_signed,
                    "quantized layers take unsigned activations with one scale a tensor");
  return {p.scale[0], p.zero_point[0], p.spec.bits};
}

QuantizedLinear::QuantizedLinear(const Config& config) : config_(config) {
  const int64_t in = config.in_features, out = config.out_features;
  check<ValueError>(in >= 1 && in <= kernels::PackedInt8Weights::kMaxK && out >= 1 && out <= INT32_MAX,
                    "QuantizedLinear: in_features ", in, " and out_features ", out, " are out of range");
  check_bits(config.weight_bits, "QuantizedLinear: weights");
  check_qparams("QuantizedLinear: input", config.input);
  if (config.output) check_qparams("QuantizedLinear: output", *config.output);
  weight_ = register_buffer("weight", NDArray::placeholder({out, in}, DType::int8));
  weight_scale_ = register_buffer("weight_scale", NDArray::placeholder({out}));
  bias_ = register_buffer("bias", NDArray::placeholder({out}, DType::int32));
}

std::shared_ptr<QuantizedLinear> QuantizedLinear::from_float(const nn::Linear& linear,
                                                             const QuantizationSpec& weight_spec,
                                                             const TensorQParams& input,
                                                             const std::optional<TensorQParams>& output, bool relu) {
  const int64_t in = linear.in_features(), out = linear.out_features();
  check<ValueError>(weight_spec.is_signed && weight_spec.scheme == QScheme::symmetric && weight_spec.axis == 0,
                    "QuantizedLinear: weights must be signed, symmetric and per output channel (axis 0)");
  auto layer = std::make_shared<QuantizedLinear>(Config{in, out, input, output, weight_spec.bits, relu});
  const NDArray weight = linear.weight.data();
  const Range range = min_max(weight, weight_spec.axis);
  QParams p = choose_qparams(range.min, range.max, weight_spec);
  const auto bias = linear.bias.defined() ? linear.bias.data().to_vector<float>() : std::vector<float>(p.scale.size());
  NDArray quantized_bias({out}, DType::int32);
  for (size_t c = 0; c < p.scale.size(); ++c) {
    check<ValueError>(std::isfinite(bias[c]), "QuantizedLinear: bias ", c, " is not finite");
    p.scale[c] = channel_scale(p.scale[c], range.min[c] == 0 && range.max[c] == 0, bias[c], input.scale, in);
    quantized_bias.data<int32_t>()[c] =
        static_cast<int32_t>(std::nearbyint(double{bias[c]} / (double{input.scale} * double{p.scale[c]})));
  }
  layer->load_state(
      {{"weight", quantize(weight, p)}, {"weight_scale", NDArray::from_vector(p.scale)}, {"bias", quantized_bias}});
  return layer;
}

void QuantizedLinear::state_changed() {
  const NDArray weight = weight_.data().contiguous();
  const auto bias = bias_.data().to_vector<int32_t>();
  const int64_t limit = bias_limit(config_.in_features);
  for (const int64_t b : bias)
    check<ValueError>(std::abs(b) <= limit, "QuantizedLinear: bias ", b, " is not in [-", limit, ", ", limit,
                      "], sums could leave int32");
  packed_.emplace(weight.data<int8_t>(), config_.out_features, config_.in_features);
  folded_bias_ = kernels::fold_zero_point(packed_->channel_sums(), bias, config_.input.zero_point);
  multiplier_ = weight_scale_.data().to_vector<float>();
  for (float& m : multiplier_) {
    check<ValueError>(std::isfinite(m) && m > 0, "QuantizedLinear: weight scale ", m, " is not positive and finite");
    const double output_scale = config_.output ? double{config_.output->scale} : 1.0;
    const double multiplier = double{config_.input.scale} * double{m} / output_scale;
    check<ValueError>(multiplier <= std::numeric_limits<float>::max(), "QuantizedLinear: scales of input, weight and ",
                      "output multiply to ", multiplier, ", which float32 cannot hold");
    m = static_cast<float>(multiplier);
  }
}

Tensor QuantizedLinear::forward(const Tensor& x) {
  check<ValueError>(packed_.has_value(), "QuantizedLinear: it has no weights yet");
  check<DTypeError>(x.dtype() == DType::uint8, "quantized_linear: expects uint8 input, got ", x.dtype());
  check<ShapeError>(x.ndim() >= 1 && x.shape(-1) == config_.in_features, "quantized_linear: weight [",
                    config_.out_features, ",", config_.in_features, "] expects ", config_.in_features,
                    " features, got ", x.shape(), " input");
  const NDArray in = x.data().contiguous();
  Shape shape = x.shape();
  shape.back() = config_.out_features;
  const int64_t rows = in.numel() / config_.in_features;
  kernels::Int8Epilogue epilogue{.bias = folded_bias_.data(), .multiplier = multiplier_.data(), .relu = config_.relu};
  if (!config_.output) {
    NDArray out(shape);
    kernels::int8_gemm(in.data<uint8_t>(), config_.in_features, rows, *packed_, epilogue, out.data<float>(),
                       config_.out_features);
    return out;
  }
  epilogue.zero_point = config_.output->zero_point;
  epilogue.low = config_.relu ? epilogue.zero_point : 0;
  epilogue.high = (1 << config_.output->bits) - 1;
  NDArray out(shape, DType::uint8);
  kernels::int8_gemm(in.data<uint8_t>(), config_.in_features, rows, *packed_, epilogue, out.data<uint8_t>(),
                     config_.out_features);
  return out;
}

Attributes QuantizedLinear::attributes() const {
  Attributes a{{"in_features", config_.in_features},
               {"out_features", config_.out_features},
               {"weight_bits", int64_t{config_.weight_bits}},
               {"relu", config_.relu}};
  put(a, "input_", config_.input);
  if (config_.output) put(a, "output_", *config_.output);
  return a;
}

Quantize::Quantize(const TensorQParams& qparams) : qparams_(qparams) { check_qparams("Quantize", qparams); }

Tensor Quantize::forward(const Tensor& x) {
  check<DTypeError>(x.dtype() == DType::float32, "quantize: expects float32 input, got ", x.dtype());
  const NDArray in = x.data().contiguous();
  NDArray out(x.shape(), DType::uint8);
  kernels::quantize(in.data<float>(), in.numel(), {qparams_.scale, qparams_.zero_point, 0, (1 << qparams_.bits) - 1},
                    out.data<uint8_t>());
  return out;
}

Attributes Quantize::attributes() const {
  Attributes a;
  put(a, "", qparams_);
  return a;
}

Dequantize::Dequantize(const TensorQParams& qparams) : qparams_(qparams) { check_qparams("Dequantize", qparams); }

Tensor Dequantize::forward(const Tensor& x) {
  check<DTypeError>(x.dtype() == DType::uint8, "dequantize: expects uint8 input, got ", x.dtype());
  const NDArray in = x.data().contiguous();
  NDArray out(x.shape());
  kernels::dequantize(in.data<uint8_t>(), in.numel(), qparams_.scale, qparams_.zero_point, out.data<float>());
  return out;
}

Attributes Dequantize::attributes() const {
  Attributes a;
  put(a, "", qparams_);
  return a;
}

}  // namespace thimble::quant
