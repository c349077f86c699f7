#include <algorithm>
#include <array>
#include <cmath>

#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/int8/uint8_maps.h>
#include <thimble/quant/layers/quantized_ops.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration quantized_ops_registrations[] = {
    {"Quantize", [](const Attributes& a) { return std::make_shared<Quantize>(TensorQParams::from_attributes(a, "")); }},
    {"Dequantize",
     [](const Attributes& a) { return std::make_shared<Dequantize>(TensorQParams::from_attributes(a, "")); }},
    {"QuantizedAdd",
     [](const Attributes& a) {
       return std::make_shared<QuantizedAdd>(TensorQParams::from_attributes(a, "a_"),
                                             TensorQParams::from_attributes(a, "b_"),
                                             TensorQParams::from_attributes(a, "output_"), a.get<bool>("relu"));
     }},
    {"Requantize",
     [](const Attributes& a) {
       return std::make_shared<Requantize>(TensorQParams::from_attributes(a, "input_"),
                                           TensorQParams::from_attributes(a, "output_"));
     }},
    {"QuantizedClamp",
     [](const Attributes& a) {
       return std::make_shared<QuantizedClamp>(a.get<int64_t>("low"), a.get<int64_t>("high"));
     }},
};

nn::ValueInfo with_dtype(nn::ValueInfo info, DType dtype) {
  info.dtype = dtype;
  return info;
}

class QuantizeStep : public nn::InferenceStep {
 public:
  QuantizeStep(const nn::ValueInfo& x, const TensorQParams& p) : InferenceStep(with_dtype(x, DType::uint8)), p_(p) {}
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::quantize(static_cast<const float*>(inputs[0]), output().shape.numel(),
                      {p_.scale, p_.zero_point, 0, p_.qmax()}, static_cast<uint8_t*>(out));
  }

 private:
  TensorQParams p_;
};

class DequantizeStep : public nn::InferenceStep {
 public:
  DequantizeStep(const nn::ValueInfo& x, const TensorQParams& p)
      : InferenceStep(with_dtype(x, DType::float32)), p_(p) {}
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::dequantize(static_cast<const uint8_t*>(inputs[0]), output().shape.numel(), p_.scale, p_.zero_point,
                        static_cast<float*>(out));
  }

 private:
  TensorQParams p_;
};

class AddStep : public nn::InferenceStep {
 public:
  AddStep(const nn::ValueInfo& x, const kernels::QuantizedAddArgs& args) : InferenceStep(x), args_(args) {}
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::quantized_add(static_cast<const uint8_t*>(inputs[0]), static_cast<const uint8_t*>(inputs[1]),
                           output().shape.numel(), args_, static_cast<uint8_t*>(out));
  }

 private:
  kernels::QuantizedAddArgs args_;
};

// Operands of different shapes are spread out first.
class BroadcastAddStep : public nn::InferenceStep {
 public:
  BroadcastAddStep(const nn::ValueInfo& output, std::span<const nn::ValueInfo> inputs,
                   const kernels::QuantizedAddArgs& args)
      : InferenceStep(output), inputs_(inputs.begin(), inputs.end()), args_(args) {}

  int64_t scratch_bytes() const override { return 2 * output().nbytes(); }
  // An operand may be the same for all samples.
  bool is_per_sample() const override { return false; }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    uint8_t* wide[] = {scratch, scratch + output().nbytes()};
    for (size_t i = 0; i < 2; ++i) nn::array_over(wide[i], output()).copy_from(nn::array_over(inputs[i], inputs_[i]));
    kernels::quantized_add(wide[0], wide[1], output().shape.numel(), args_, static_cast<uint8_t*>(out));
  }

 private:
  std::vector<nn::ValueInfo> inputs_;
  kernels::QuantizedAddArgs args_;
};

class RequantizeStep : public nn::InferenceStep {
 public:
  RequantizeStep(const nn::ValueInfo& x, const TensorQParams& from, const TensorQParams& to) : InferenceStep(x) {
    const double scale = double{from.scale} / double{to.scale};
    for (int q = 0; q < 256; ++q) {
      const double rescaled = std::nearbyint((q - from.zero_point) * scale) + to.zero_point;
      table_[static_cast<size_t>(q)] = static_cast<uint8_t>(std::clamp<double>(rescaled, 0, to.qmax()));
    }
  }
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::look_up(static_cast<const uint8_t*>(inputs[0]), output().shape.numel(), table_.data(),
                     static_cast<uint8_t*>(out));
  }

 private:
  std::array<uint8_t, 256> table_;
};

class ClampStep : public nn::InferenceStep {
 public:
  ClampStep(const nn::ValueInfo& x, int64_t low, int64_t high)
      : InferenceStep(x), low_(static_cast<uint8_t>(low)), high_(static_cast<uint8_t>(high)) {}
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::clamp(static_cast<const uint8_t*>(inputs[0]), output().shape.numel(), low_, high_,
                   static_cast<uint8_t*>(out));
  }

 private:
  uint8_t low_, high_;
};

}  // namespace

Quantize::Quantize(const TensorQParams& qparams) : qparams_(qparams) { qparams.check("Quantize"); }

void Quantize::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 1, "quantize: takes one input, got ", inputs.size());
  check<DTypeError>(inputs[0].dtype == DType::float32, "quantize: expects float32 input, got ", inputs[0].dtype);
}

std::unique_ptr<nn::InferenceStep> Quantize::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  return std::make_unique<QuantizeStep>(inputs[0], qparams_);
}

Attributes Quantize::attributes() const {
  Attributes a;
  qparams_.to_attributes(a, "");
  return a;
}

Dequantize::Dequantize(const TensorQParams& qparams) : qparams_(qparams) { qparams.check("Dequantize"); }

void Dequantize::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 1, "dequantize: takes one input, got ", inputs.size());
  check<DTypeError>(inputs[0].dtype == DType::uint8, "dequantize: expects uint8 input, got ", inputs[0].dtype);
}

std::unique_ptr<nn::InferenceStep> Dequantize::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  return std::make_unique<DequantizeStep>(inputs[0], qparams_);
}

Attributes Dequantize::attributes() const {
  Attributes a;
  qparams_.to_attributes(a, "");
  return a;
}

QuantizedAdd::QuantizedAdd(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output, bool relu)
    : a_(a), b_(b), output_(output), relu_(relu) {
  a.check("QuantizedAdd: first input");
  b.check("QuantizedAdd: second input");
  output.check("QuantizedAdd: output");
}

void QuantizedAdd::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 2, "quantized_add: takes two inputs, got ", inputs.size());
  for (const nn::ValueInfo& x : inputs)
    check<DTypeError>(x.dtype == DType::uint8, "quantized_add: expects uint8 inputs, got ", x.dtype);
  broadcast_shapes(inputs[0].shape, inputs[1].shape, "quantized_add");
}

std::unique_ptr<nn::InferenceStep> QuantizedAdd::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  const kernels::QuantizedAddArgs args{.a_scale = static_cast<float>(double{a_.scale} / double{output_.scale}),
                                       .b_scale = static_cast<float>(double{b_.scale} / double{output_.scale}),
                                       .a_zero_point = a_.zero_point,
                                       .b_zero_point = b_.zero_point,
                                       .zero_point = output_.zero_point,
                                       .low = relu_ ? output_.zero_point : 0,
                                       .high = output_.qmax()};
  if (inputs[0] == inputs[1]) return std::make_unique<AddStep>(inputs[0], args);
  if (!inputs[0].flattened_image.empty() || !inputs[1].flattened_image.empty()) return nullptr;
  const Shape shape = broadcast_shapes(inputs[0].shape, inputs[1].shape, "quantized_add");
  return std::make_unique<BroadcastAddStep>(nn::ValueInfo{shape, DType::uint8}, inputs, args);
}

Attributes QuantizedAdd::attributes() const {
  Attributes a{{"relu", relu_}};
  a_.to_attributes(a, "a_");
  b_.to_attributes(a, "b_");
  output_.to_attributes(a, "output_");
  return a;
}

Requantize::Requantize(const TensorQParams& input, const TensorQParams& output) : input_(input), output_(output) {
  input.check("Requantize: input");
  output.check("Requantize: output");
}

std::unique_ptr<nn::InferenceStep> Requantize::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  return std::make_unique<RequantizeStep>(inputs[0], input_, output_);
}

Attributes Requantize::attributes() const {
  Attributes a;
  input_.to_attributes(a, "input_");
  output_.to_attributes(a, "output_");
  return a;
}

QuantizedClamp::QuantizedClamp(int64_t low, int64_t high) : low_(low), high_(high) {
  check<ValueError>(low >= 0 && low <= high && high <= 255, "QuantizedClamp: bounds ", low, " and ", high,
                    " are not in order in [0, 255]");
}

std::unique_ptr<nn::InferenceStep> QuantizedClamp::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  return std::make_unique<ClampStep>(inputs[0], low_, high_);
}

}  // namespace thimble::quant
