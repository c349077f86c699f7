#include <thimble/core/kernels/int8/quantized_mean.h>
#include <thimble/quant/layers/quantized_pool.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration quantized_pool_registration{"QuantizedGlobalAvgPool2d", [](const Attributes& a) {
                                                          return std::make_shared<QuantizedGlobalAvgPool2d>(
                                                              TensorQParams::from_attributes(a, "input_"),
                                                              TensorQParams::from_attributes(a, "output_"));
                                                        }};

class GlobalAvgPoolStep : public nn::InferenceStep {
 public:
  GlobalAvgPoolStep(const Shape& x, const kernels::QuantizedMeanArgs& args)
      : InferenceStep({{x[0], x[1], 1, 1}, DType::uint8}), pixels_(x[2] * x[3]), args_(args) {}

  // Pixels lie one after the other, each with all its channels.
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::quantized_mean(static_cast<const uint8_t*>(inputs[0]), output().shape[0], pixels_, output().shape[1],
                            args_, static_cast<uint8_t*>(out));
  }

 private:
  int64_t pixels_;
  kernels::QuantizedMeanArgs args_;
};

}  // namespace

QuantizedGlobalAvgPool2d::QuantizedGlobalAvgPool2d(const TensorQParams& input, const TensorQParams& output)
    : input_(input), output_(output) {
  input.check("QuantizedGlobalAvgPool2d: input");
  output.check("QuantizedGlobalAvgPool2d: output");
}

void QuantizedGlobalAvgPool2d::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  const Shape& x = inputs[0].shape;
  check<ShapeError>(x.ndim() == 4 && x[2] * x[3] >= 1, type(),
                    ": expects images [n, c, h, w] of at least one pixel, got ", x);
}

std::unique_ptr<nn::InferenceStep> QuantizedGlobalAvgPool2d::inference_step(
    std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  const kernels::QuantizedMeanArgs args{.scale = input_.scale,
                                        .x_zero_point = input_.zero_point,
                                        .output_scale = output_.scale,
                                        .zero_point = output_.zero_point,
                                        .high = output_.qmax()};
  return std::make_unique<GlobalAvgPoolStep>(inputs[0].shape, args);
}

Attributes QuantizedGlobalAvgPool2d::attributes() const {
  Attributes a;
  input_.to_attributes(a, "input_");
  output_.to_attributes(a, "output_");
  return a;
}

}  // namespace thimble::quant
