#include <thimble/nn/linear_step.h>
#include <thimble/quant/quantized_linear.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> linear_from(const Attributes& a) {
  const auto q = QuantizedLinear::quantization_from(a);
  return std::make_shared<QuantizedLinear>(QuantizedLinear::Config{
      a.get<int64_t>("in_features"), a.get<int64_t>("out_features"), q.input, q.output, q.weight_bits, q.relu});
}

const nn::LayerRegistration registration{"QuantizedLinear", linear_from};

class LinearStep : public nn::InferenceStep {
 public:
  LinearStep(nn::ValueInfo output, kernels::PackedInt8Weights weights, Requantization requantization)
      : InferenceStep(std::move(output)), weights_(std::move(weights)), requantization_(std::move(requantization)) {}

  int64_t weight_bytes() const override { return weights_.n() * weights_.k(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    const auto* x = static_cast<const uint8_t*>(inputs[0]);
    if (output().dtype == DType::uint8)
      multiply(x, static_cast<uint8_t*>(out));
    else
      multiply(x, static_cast<float*>(out));
  }

 private:
  template <typename Out>
  void multiply(const uint8_t* x, Out* out) const {
    const int64_t n = weights_.n(), rows = output().shape.numel() / n;
    kernels::int8_gemm(x, weights_.k(), rows, weights_, requantization_.epilogue(), out, n);
  }

  kernels::PackedInt8Weights weights_;
  Requantization requantization_;
};

}  // namespace

QuantizedLinear::QuantizedLinear(const Config& c)
    : IntegerProduct("QuantizedLinear", {c.out_features, c.in_features}, {c.input, c.output, c.weight_bits, c.relu}),
      config_(c) {}

std::shared_ptr<QuantizedLinear> QuantizedLinear::from_float(const nn::Linear& linear,
                                                             const QuantizationSpec& weight_spec,
                                                             const TensorQParams& input,
                                                             const std::optional<TensorQParams>& output, bool relu) {
  return from_weights({linear.weight, linear.bias, choose_qparams(linear.weight.data(), weight_spec)}, input, output,
                      relu);
}

std::shared_ptr<QuantizedLinear> QuantizedLinear::from_weights(const ProductWeights& weights,
                                                               const TensorQParams& input,
                                                               const std::optional<TensorQParams>& output, bool relu) {
  const Shape& shape = weights.weight.shape();
  auto layer =
      std::make_shared<QuantizedLinear>(Config{shape[1], shape[0], input, output, weights.qparams.spec.bits, relu});
  layer->load_float(weights);
  return layer;
}

Tensor QuantizedLinear::forward_all(std::span<const Tensor> inputs) { return forward_rows(inputs); }

void QuantizedLinear::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  const Shape& x = inputs[0].shape;
  check<ShapeError>(x.ndim() >= 1 && x.back() == config_.in_features, "quantized_linear: weight ", weight_shape(),
                    " expects ", config_.in_features, " features, got ", x, " input");
}

std::unique_ptr<nn::InferenceStep> QuantizedLinear::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  const nn::ValueInfo& x = inputs[0];
  if (x.is_image()) return nullptr;  // rows of an image do not lie in its order
  const NDArray ordered = nn::weight_in_order(shifted_weight(), x);
  kernels::PackedInt8Weights packed(ordered.data<int8_t>(), config_.out_features, config_.in_features);
  Shape shape = x.shape;
  shape.back() = config_.out_features;
  Requantization requantization = this->requantization(packed.channel_sums());
  return std::make_unique<LinearStep>(nn::ValueInfo{shape, output_dtype()}, std::move(packed),
                                      std::move(requantization));
}

Attributes QuantizedLinear::attributes() const {
  Attributes a = quantization_attributes();
  a.set("in_features", config_.in_features);
  a.set("out_features", config_.out_features);
  return a;
}

}  // namespace thimble::quant
