#include <cmath>

#include <thimble/nn/inference/inference.h>
#include <thimble/quant/layers/quantized_scale.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration quantized_scale_registration{
    "QuantizedScale", [](const Attributes& a) { return std::make_shared<QuantizedScale>(a.get<double>("factor")); }};

}  // namespace

QuantizedScale::QuantizedScale(double factor) : factor_(factor) {
  check<ValueError>(std::isfinite(factor) && factor > 0, "QuantizedScale: factor ", factor,
                    " is not positive and finite");
  eval();
}

Tensor QuantizedScale::forward(const Tensor& x) {
  check<DTypeError>(x.dtype() == DType::uint8, "QuantizedScale: expects uint8 input, got ", x.dtype());
  return x;
}

std::unique_ptr<nn::InferenceStep> QuantizedScale::inference_step(std::span<const nn::ValueInfo> inputs) const {
  if (inputs.size() != 1 || inputs[0].dtype != DType::uint8 || inputs[0].is_constant) return nullptr;
  return std::make_unique<nn::ViewStep>(inputs[0]);
}

}  // namespace thimble::quant
