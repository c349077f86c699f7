#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/ops/channels_last.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

namespace {

int small_int(const Attributes& attributes, const std::string& key) {
  const auto value = attributes.get<int64_t>(key);
  check<FormatError>(value >= 0 && value <= 255, "attribute '", key, "' is ", value, ", expected 0 to 255");
  return static_cast<int>(value);
}

nn::ValueInfo info_of(const Tensor& x) { return {x.shape(), x.dtype()}; }

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
  thimble::check<ValueError>(p.scale.size() == 1, "quantized layers take activations with one scale a tensor, got ",
                             p.scale.size());
  const int bits = p.spec.bits - (p.spec.reduce_range ? 1 : 0);
  const int32_t shift = p.spec.is_signed ? 1 << (bits - 1) : 0;
  return {p.scale[0], p.zero_point[0] + shift, bits};
}

void TensorQParams::check(const char* what) const {
  thimble::check<ValueError>(std::isfinite(scale) && scale > 0, what, ": scale ", scale, " is not positive and finite");
  check_bits(bits, what);
  thimble::check<ValueError>(zero_point >= 0 && zero_point <= qmax(), what, ": zero point ", zero_point,
                             " is not in [0, ", qmax(), "]");
}

void TensorQParams::to_attributes(Attributes& attributes, const std::string& prefix) const {
  attributes.set(prefix + "scale", double{scale});
  attributes.set(prefix + "zero_point", int64_t{zero_point});
  attributes.set(prefix + "bits", int64_t{bits});
}

TensorQParams TensorQParams::from_attributes(const Attributes& a, const std::string& prefix) {
  return {static_cast<float>(a.get<double>(prefix + "scale")), small_int(a, prefix + "zero_point"),
          small_int(a, prefix + "bits")};
}

std::shared_ptr<const nn::InferenceStep> IntegerLayer::step_for(std::span<const Tensor> inputs) {
  std::lock_guard lock(mutex_);
  if (!prepared_.step || !std::ranges::equal(prepared_.inputs, inputs, {}, {}, info_of)) {
    std::vector<nn::ValueInfo> infos;
    for (const Tensor& x : inputs) infos.push_back(info_of(x));
    check_inputs(infos);
    prepared_ = {infos, inference_step(infos)};
  }
  return prepared_.step;
}

Tensor IntegerLayer::forward_all(std::span<const Tensor> inputs) {
  const std::shared_ptr<const nn::InferenceStep> step = step_for(inputs);
  std::vector<NDArray> arrays;
  std::vector<const void*> memory;
  for (const Tensor& x : inputs) {
    arrays.push_back(x.ndim() == 4 ? to_channels_last(x.data()) : x.data().contiguous());
    memory.push_back(std::as_const(arrays.back()).raw());
  }
  const nn::ValueInfo& info = step->output();
  NDArray out = info.is_image() ? channels_last_array(info.shape, info.dtype) : NDArray(info.shape, info.dtype);
  NDArray scratch({step->scratch_bytes()}, DType::uint8);
  step->run(memory, out.raw(), scratch.data<uint8_t>());
  return info.is_image() ? from_channels_last(out) : out;
}

Tensor IntegerLayer::forward_rows(std::span<const Tensor> inputs) {
  if (inputs.size() != 1 || inputs[0].ndim() != 4) return IntegerLayer::forward_all(inputs);
  const Shape& s = inputs[0].shape();
  const Tensor rows = inputs[0].data().reshape({s[0] * s[1] * s[2], s[3]});
  const NDArray y = IntegerLayer::forward_all(std::span(&rows, 1)).data();
  return y.reshape({s[0], s[1], s[2], y.shape(1)});
}

void IntegerLayer::check_one_uint8(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 1, type(), ": takes one input, got ", inputs.size());
  check<DTypeError>(inputs[0].dtype == DType::uint8, type(), ": expects uint8 input, got ", inputs[0].dtype);
}

void IntegerLayer::state_changed() {
  std::lock_guard lock(mutex_);
  prepared_ = {};
}

namespace {

class ProductStep : public nn::InferenceStep {
 public:
  ProductStep(std::unique_ptr<ProductKernel> kernel, DType dtype, uint8_t input_zero_point,
              Requantization requantization)
      : InferenceStep({kernel->output_shape(), dtype}),
        kernel_(std::move(kernel)),
        input_zero_point_(input_zero_point),
        requantization_(std::move(requantization)) {}

  int64_t weight_bytes() const override { return kernel_->weight_bytes(); }
  int64_t scratch_bytes() const override { return kernel_->scratch_bytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const auto* x = static_cast<const uint8_t*>(inputs[0]);
    if (output().dtype == DType::uint8)
      kernel_->run(x, input_zero_point_, requantization_.epilogue(), static_cast<uint8_t*>(out), scratch);
    else
      kernel_->run(x, input_zero_point_, requantization_.epilogue(), static_cast<float*>(out), scratch);
  }

 private:
  std::unique_ptr<ProductKernel> kernel_;
  uint8_t input_zero_point_;
  Requantization requantization_;
};

}  // namespace

IntegerProduct::IntegerProduct(const char* type, const Shape& shape, const Quantization& q)
    : type_(type), quantization_(q), weights_(type, shape, {q.weight_bits, q.weight_group_size}) {
  q.input.check(str(type, ": input").c_str());
  if (q.output) q.output->check(str(type, ": output").c_str());
  register_buffer("weight", weights_.values());
  register_buffer("weight_scale", weights_.scale());
  bias_ = register_buffer("bias", NDArray::placeholder({shape[0]}, DType::int32));
}

std::unique_ptr<nn::InferenceStep> IntegerProduct::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  std::unique_ptr<ProductKernel> sums = kernel(inputs[0]);
  if (!sums) return nullptr;
  Requantization requantization = this->requantization(sums->sums());
  return std::make_unique<ProductStep>(std::move(sums), quantization_.output ? DType::uint8 : DType::float32,
                                       static_cast<uint8_t>(quantization_.input.zero_point), std::move(requantization));
}

void IntegerProduct::load_float(const ProductWeights& float_weights) {
  QParams p = weights_.with_scales(float_weights.qparams);
  const auto out = static_cast<size_t>(weights_.shape()[0]), groups = static_cast<size_t>(weights_.groups());
  const Range range = min_max(float_weights.weight.data(), p.spec);
  const Tensor& float_bias = float_weights.bias;
  const auto bias = float_bias.defined() ? float_bias.data().to_vector<float>() : std::vector<float>(out);
  NDArray quantized_bias({weights_.shape()[0]}, DType::int32);
  const float input_scale = quantization_.input.scale, steps = static_cast<float>(1 << weights_.shift());
  for (size_t c = 0; c < out; ++c) {
    check<ValueError>(std::isfinite(bias[c]), type_, ": bias ", c, " is not finite");
    const size_t i = c * groups;
    const bool all_zero = range.min[i] == 0 && range.max[i] == 0;
    const float step = channel_scale(p.scale[i] / steps, all_zero, bias[c], input_scale, weights_.k());
    p.scale[i] = step * steps;
    quantized_bias.data<int32_t>()[c] =
        static_cast<int32_t>(std::nearbyint(double{bias[c]} / (double{input_scale} * double{step})));
  }
  const IntegerWeights::State state = weights_.quantize(float_weights.weight.data(), p);
  load_state({{"weight", state.values}, {"weight_scale", state.scale}, {"bias", quantized_bias}});
}

void IntegerProduct::state_changed() {
  IntegerLayer::state_changed();
  const int64_t limit = bias_limit(weights_.k());
  for (const int64_t b : bias_.data().to_vector<int32_t>())
    check<ValueError>(std::abs(b) <= limit, type_, ": bias ", b, " is not in [-", limit, ", ", limit,
                      "], sums could leave int32");
  multiplier_ = weights_.steps();
  for (float& m : multiplier_) {
    const double output_scale = quantization_.output ? double{quantization_.output->scale} : 1.0;
    const double multiplier = double{quantization_.input.scale} * double{m} / output_scale;
    check<ValueError>(multiplier <= std::numeric_limits<float>::max(), type_,
                      ": scales of input, weight and output multiply to ", multiplier, ", which float32 cannot hold");
    m = static_cast<float>(multiplier);
  }
}

Attributes IntegerProduct::quantization_attributes() const {
  Attributes a{{"relu", quantization_.relu}};
  weights_.format().to_attributes(a);
  quantization_.input.to_attributes(a, "input_");
  if (quantization_.output) quantization_.output->to_attributes(a, "output_");
  return a;
}

IntegerProduct::Quantization IntegerProduct::quantization_from(const Attributes& a) {
  const auto format = IntegerWeights::Format::from_attributes(a);
  return {
      .input = TensorQParams::from_attributes(a, "input_"),
      .output = a.contains("output_scale") ? std::optional(TensorQParams::from_attributes(a, "output_")) : std::nullopt,
      .weight_bits = format.bits,
      .relu = a.get<bool>("relu"),
      .weight_group_size = format.group_size};
}

Requantization IntegerProduct::requantization(std::span<const int32_t> sums) const {
  check<ValueError>(!multiplier_.empty(), type_, ": it has no weights yet");
  auto bias = bias_.data().to_vector<int32_t>();
  bias.resize(sums.size(), 0);  // the first group's
  Requantization r{.bias = kernels::fold_zero_point(sums, bias, quantization_.input.zero_point),
                   .multiplier = multiplier_,
                   .relu = quantization_.relu};
  if (!quantization_.output) return r;
  r.zero_point = quantization_.output->zero_point;
  r.low = quantization_.relu ? r.zero_point : 0;
  r.high = quantization_.output->qmax();
  return r;
}

}  // namespace thimble::quant
