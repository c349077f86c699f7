#include <thimble/quant/layers/product_kernel.h>
#include <thimble/quant/layers/quantized_linear.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> quantized_linear_from(const Attributes& a) {
  const auto q = QuantizedLinear::quantization_from(a);
  return std::make_shared<QuantizedLinear>(QuantizedLinear::Config{a.get<int64_t>("in_features"),
                                                                   a.get<int64_t>("out_features"), q.input, q.output,
                                                                   q.weight_bits, q.relu, q.weight_group_size});
}

const nn::LayerRegistration quantized_linear_registration{"QuantizedLinear", quantized_linear_from};

}  // namespace

QuantizedLinear::QuantizedLinear(const Config& c)
    : IntegerProduct("QuantizedLinear", {c.out_features, c.in_features},
                     {c.input, c.output, c.weight_bits, c.relu, c.weight_group_size}),
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
  const QuantizationSpec& spec = weights.qparams.spec;
  auto layer =
      std::make_shared<QuantizedLinear>(Config{shape[1], shape[0], input, output, spec.bits, relu, spec.group_size});
  layer->load_float(weights);
  return layer;
}

Tensor QuantizedLinear::forward_all(std::span<const Tensor> inputs) { return forward_rows(inputs); }

void QuantizedLinear::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  const Shape& x = inputs[0].shape;
  check<ShapeError>(x.ndim() >= 1 && x.back() == config_.in_features, "quantized_linear: weight ", weights().shape(),
                    " expects ", config_.in_features, " features, got ", x, " input");
}

std::unique_ptr<ProductKernel> QuantizedLinear::kernel(const nn::ValueInfo& x) const {
  return linear_kernel(weights(), x);
}

Attributes QuantizedLinear::attributes() const {
  Attributes a = quantization_attributes();
  a.set("in_features", config_.in_features);
  a.set("out_features", config_.out_features);
  return a;
}

}  // namespace thimble::quant
