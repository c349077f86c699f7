#include <thimble/core/kernels/int8/quantized_softmax.h>
#include <thimble/quant/layers/quantized_softmax.h>
#include <thimble/quant/layers/row_step.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration quantized_softmax_registration{
    "QuantizedSoftmax", [](const Attributes& a) {
      return std::make_shared<QuantizedSoftmax>(a.get<int64_t>("axis"), TensorQParams::from_attributes(a, "input_"),
                                                TensorQParams::from_attributes(a, "output_"));
    }};

class QuantizedSoftmaxStep : public RowStep {
 public:
  QuantizedSoftmaxStep(const nn::ValueInfo& x, int axis, const TensorQParams& from, const TensorQParams& to)
      : RowStep(x, axis, axis + 1), table_(from.scale, to.scale, to.zero_point, to.qmax()) {}

 private:
  void run_rows(const uint8_t* x, int64_t rows, int64_t length, uint8_t* out) const override {
    kernels::quantized_softmax(x, rows, length, table_, out);
  }

  kernels::QuantizedSoftmaxTable table_;
};

}  // namespace

QuantizedSoftmax::QuantizedSoftmax(int64_t axis, const TensorQParams& input, const TensorQParams& output)
    : axis_(axis), input_(input), output_(output) {
  input.check("QuantizedSoftmax: input");
  output.check("QuantizedSoftmax: output");
}

void QuantizedSoftmax::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  normalize_axis(axis_, inputs[0].shape.ndim(), "QuantizedSoftmax");
}

std::unique_ptr<nn::InferenceStep> QuantizedSoftmax::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  if (!inputs[0].flattened_image.empty()) return nullptr;
  const int axis = normalize_axis(axis_, inputs[0].shape.ndim(), "QuantizedSoftmax");
  return std::make_unique<QuantizedSoftmaxStep>(inputs[0], axis, input_, output_);
}

Attributes QuantizedSoftmax::attributes() const {
  Attributes a{{"axis", axis_}};
  input_.to_attributes(a, "input_");
  output_.to_attributes(a, "output_");
  return a;
}

}  // namespace thimble::quant
