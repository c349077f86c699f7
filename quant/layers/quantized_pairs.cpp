#include <utility>

#include <thimble/core/kernels/int8/uint8_maps.h>
#include <thimble/quant/layers/pair_steps.h>
#include <thimble/quant/layers/quantized_pairs.h>

namespace thimble::quant {

namespace {

template <typename Layer>
std::shared_ptr<nn::Module> pair_from(const Attributes& a) {
  return std::make_shared<Layer>(TensorQParams::from_attributes(a, "a_"), TensorQParams::from_attributes(a, "b_"),
                                 TensorQParams::from_attributes(a, "output_"));
}

const nn::LayerRegistration quantized_pair_registrations[] = {
    {"QuantizedAdd",
     [](const Attributes& a) {
       return std::make_shared<QuantizedAdd>(TensorQParams::from_attributes(a, "a_"),
                                             TensorQParams::from_attributes(a, "b_"),
                                             TensorQParams::from_attributes(a, "output_"), a.get<bool>("relu"));
     }},
    {"QuantizedMaximum", pair_from<QuantizedMaximum>},
    {"QuantizedMinimum", pair_from<QuantizedMinimum>},
    {"QuantizedMul", pair_from<QuantizedMul>},
    {"QuantizedSub", pair_from<QuantizedSub>},
};

kernels::QuantizedAddArgs add_args(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output) {
  return {.a_scale = static_cast<float>(double{a.scale} / double{output.scale}),
          .b_scale = static_cast<float>(double{b.scale} / double{output.scale}),
          .a_zero_point = a.zero_point,
          .b_zero_point = b.zero_point,
          .zero_point = output.zero_point,
          .low = 0,
          .high = output.qmax()};
}

}  // namespace

QuantizedPair::QuantizedPair(const char* type, const TensorQParams& a, const TensorQParams& b,
                             const TensorQParams& output)
    : a_(a), b_(b), output_(output) {
  a.check(str(type, ": first input").c_str());
  b.check(str(type, ": second input").c_str());
  output.check(str(type, ": output").c_str());
}

void QuantizedPair::check_scales(const char* type) const {
  for (const TensorQParams& x : {a_, b_}) checked_multiplier(type, double{x.scale} / double{output_.scale});
}

void QuantizedPair::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 2, type(), ": takes two inputs, got ", inputs.size());
  for (const nn::ValueInfo& x : inputs)
    check<DTypeError>(x.dtype == DType::uint8, type(), ": expects uint8 inputs, got ", x.dtype);
  broadcast_shapes(inputs[0].shape, inputs[1].shape, type().c_str());
}

Attributes QuantizedPair::attributes() const {
  Attributes a;
  a_.to_attributes(a, "a_");
  b_.to_attributes(a, "b_");
  output_.to_attributes(a, "output_");
  return a;
}

QuantizedAdd::QuantizedAdd(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output, bool relu)
    : QuantizedPair("QuantizedAdd", a, b, output), relu_(relu) {
  check_scales("QuantizedAdd");
}

std::unique_ptr<nn::InferenceStep> QuantizedAdd::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  kernels::QuantizedAddArgs args = add_args(a_, b_, output_);
  if (relu_) args.low = output_.zero_point;
  return pair_step(inputs, kernels::quantized_add, args);
}

Attributes QuantizedAdd::attributes() const {
  Attributes a = QuantizedPair::attributes();
  a.set("relu", relu_);
  return a;
}

QuantizedSub::QuantizedSub(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output)
    : QuantizedPair("QuantizedSub", a, b, output) {
  check_scales("QuantizedSub");
}

std::unique_ptr<nn::InferenceStep> QuantizedSub::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  kernels::QuantizedAddArgs args = add_args(a_, b_, output_);
  args.b_scale = -args.b_scale;
  return pair_step(inputs, kernels::quantized_add, args);
}

QuantizedMul::QuantizedMul(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output)
    : QuantizedPair("QuantizedMul", a, b, output) {
  checked_multiplier("QuantizedMul", double{a.scale} * double{b.scale} / double{output.scale});
}

std::unique_ptr<nn::InferenceStep> QuantizedMul::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  const kernels::QuantizedMulArgs args{
      .scale = static_cast<float>(double{a_.scale} * double{b_.scale} / double{output_.scale}),
      .a_zero_point = a_.zero_point,
      .b_zero_point = b_.zero_point,
      .zero_point = output_.zero_point,
      .low = 0,
      .high = output_.qmax()};
  return pair_step(inputs, kernels::quantized_mul, args);
}

QuantizedMaximum::QuantizedMaximum(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output)
    : QuantizedPair("QuantizedMaximum", a, b, output) {
  check_scales("QuantizedMaximum");
}

std::unique_ptr<nn::InferenceStep> QuantizedMaximum::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  return pair_step(inputs, kernels::quantized_maximum, add_args(a_, b_, output_));
}

QuantizedMinimum::QuantizedMinimum(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output)
    : QuantizedPair("QuantizedMinimum", a, b, output) {
  check_scales("QuantizedMinimum");
}

std::unique_ptr<nn::InferenceStep> QuantizedMinimum::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  return pair_step(inputs, kernels::quantized_minimum, add_args(a_, b_, output_));
}

}  // namespace thimble::quant
