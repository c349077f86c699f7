#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <thimble/nn/inference/batched_program.h>
#include <thimble/quant/layers/product_kernel.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

namespace {

int small_int(const Attributes& attributes, const std::string& key) {
  const auto value = attributes.get<int64_t>(key);
  check<FormatError>(value >= 0 && value <= 255, "attribute '", key, "' is ", value, ", expected 0 to 255");
  return static_cast<int>(value);
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

std::shared_ptr<const nn::BatchedProgram> IntegerLayer::program_for(std::span<const Tensor> inputs) {
  std::lock_guard lock(mutex_);
  if (!program_ || !program_->fits(inputs)) {
    std::vector<nn::ValueInfo> infos;
    for (const Tensor& x : inputs) infos.push_back(nn::info_of(x));
    check_inputs(infos);
    std::unique_ptr<nn::InferenceStep> step = inference_step(infos);
    check(step != nullptr, type(), ": has no step for an input of shape ", infos[0].shape);
    program_ = std::make_shared<nn::BatchedProgram>(
        std::make_shared<const nn::Program>(nn::single_step(std::move(step), infos)));
  }
  return program_;
}

Tensor IntegerLayer::forward_all(std::span<const Tensor> inputs) {
  nn::WorkMemory memory;
  Tensor y;
  program_for(inputs)->run(inputs, std::span(&y, 1), memory);
  return y;
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
  program_ = nullptr;
}

/// What happens to the sums of an integer product on their way out, with the arrays that the kernels point to.
struct Requantization {
  std::vector<int32_t> bias;  // with the input's zero point folded in, [groups][out]
  std::vector<float> multiplier;
  int32_t zero_point = 0, low = 0, high = 255;
  bool relu = false;

  kernels::Int8Epilogue epilogue() const { return {bias.data(), multiplier.data(), zero_point, low, high, relu}; }
};

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
  ProductWeights w = float_weights;
  w.qparams = weights_.with_scales(w.qparams);
  const IntegerBias bias = integer_bias(w, quantization_.input.scale);
  const auto groups = static_cast<size_t>(weights_.groups());
  for (size_t c = 0; c < bias.step.size(); ++c)
    w.qparams.scale[c * groups] = bias.step[c] * static_cast<float>(1 << weights_.shift());
  const IntegerWeights::State state = weights_.quantize(w.weight.data(), w.qparams);
  load_state({{"weight", state.values}, {"weight_scale", state.scale}, {"bias", NDArray::from_vector(bias.value)}});
}

void IntegerProduct::add_to_bias(std::span<const double> shift) {
  const std::vector<float> steps = weights_.steps();  // the first group's come first
  std::vector<int32_t> bias = bias_.data().to_vector<int32_t>();
  check<ValueError>(shift.size() == bias.size(), type_, ": ", shift.size(), " shifts for ", bias.size(), " outputs");
  const auto limit = static_cast<double>(integer_bias_limit(weights_.k()));
  for (size_t c = 0; c < bias.size(); ++c) {
    const double shifted = bias[c] + shift[c] / (double{quantization_.input.scale} * double{steps[c]});
    check<ValueError>(std::isfinite(shifted), type_, ": a bias cannot be shifted by ", shift[c]);
    bias[c] = static_cast<int32_t>(std::clamp(std::nearbyint(shifted), -limit, limit));
  }
  bias_.set_data(NDArray::from_vector(bias));
  state_changed();
}

void IntegerProduct::state_changed() {
  IntegerLayer::state_changed();
  const int64_t limit = integer_bias_limit(weights_.k());
  for (const int64_t b : bias_.data().to_vector<int32_t>())
    check<ValueError>(std::abs(b) <= limit, type_, ": bias ", b, " is not in [-", limit, ", ", limit,
                      "], sums could leave int32");
  const bool before = std::exchange(loaded_, true);
  try {
    (void)multiplier();
  } catch (...) {
    loaded_ = before;
    throw;
  }
}

float checked_multiplier(const std::string& type, double multiplier) {
  check<ValueError>(multiplier <= std::numeric_limits<float>::max(), type, ": scales of inputs and output multiply to ",
                    multiplier, ", which float32 cannot hold");
  return static_cast<float>(multiplier);
}

std::vector<float> IntegerProduct::multiplier() const {
  check<ValueError>(loaded_, type_, ": it has no weights yet");
  std::vector<float> multiplier = weights_.steps();
  for (float& m : multiplier) {
    const double output_scale = quantization_.output ? double{quantization_.output->scale} : 1.0;
    m = checked_multiplier(type_, double{quantization_.input.scale} * double{m} / output_scale);
  }
  return multiplier;
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
  std::vector<float> multiplier = this->multiplier();
  auto bias = bias_.data().to_vector<int32_t>();
  bias.resize(sums.size(), 0);  // the first group's
  Requantization r{.bias = kernels::fold_zero_point(sums, bias, quantization_.input.zero_point),
                   .multiplier = std::move(multiplier),
                   .relu = quantization_.relu};
  if (!quantization_.output) return r;
  r.zero_point = quantization_.output->zero_point;
  r.low = quantization_.relu ? r.zero_point : 0;
  r.high = quantization_.output->qmax();
  return r;
}

}  // namespace thimble::quant
