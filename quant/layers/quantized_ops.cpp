#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/int8/uint8_maps.h>
#include <thimble/nn/inference/view_steps.h>
#include <thimble/quant/layers/quantized_ops.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration quantized_ops_registrations[] = {
    {"Quantize", [](const Attributes& a) { return std::make_shared<Quantize>(TensorQParams::from_attributes(a, "")); }},
    {"Dequantize",
     [](const Attributes& a) { return std::make_shared<Dequantize>(TensorQParams::from_attributes(a, "")); }},
    {"QuantizedTable",
     [](const Attributes& a) {
       if (!a.contains("input_scale")) return std::make_shared<QuantizedTable>();
       return std::make_shared<QuantizedTable>(TensorQParams::from_attributes(a, "input_"),
                                               TensorQParams::from_attributes(a, "output_"));
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

nn::ValueInfo integers_of(const nn::ValueInfo& x) {
  return x.strides.empty() ? with_dtype(x, DType::uint8) : nn::lying_as(x.shape, DType::uint8, x.strides);
}

// Views without gaps, too, whose integers lie as they do.
class QuantizeStep : public nn::InferenceStep {
 public:
  QuantizeStep(const nn::ValueInfo& x, const TensorQParams& p)
      : InferenceStep(integers_of(x)), offset_(x.offset), p_(p) {}
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::quantize(static_cast<const float*>(inputs[0]) + offset_, output().shape.numel(),
                      {p_.scale, p_.zero_point, 0, p_.qmax()}, static_cast<uint8_t*>(out));
  }

 private:
  int64_t offset_;
  TensorQParams p_;
};

// Whole images [n, c, h, w] in row-major order, of few channels, whose integers become channels-last.
class QuantizeImagesStep : public nn::InferenceStep {
 public:
  QuantizeImagesStep(const nn::ValueInfo& x, const TensorQParams& p)
      : InferenceStep({.shape = x.shape, .dtype = DType::uint8}), p_(p) {}
  static bool can_take(const nn::ValueInfo& x) {
    return x.is_image() && x.offset == 0 && x.strides == contiguous_strides(x.shape) &&
           kernels::can_quantize_to_channels_last(x.shape[1]);
  }
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    const Shape& shape = output().shape;
    kernels::quantize_to_channels_last(static_cast<const float*>(inputs[0]), shape[0], shape[1], shape[2] * shape[3],
                                       {p_.scale, p_.zero_point, 0, p_.qmax()}, static_cast<uint8_t*>(out));
  }

 private:
  TensorQParams p_;
};

bool has_gaps(const nn::ValueInfo& x) {
  return !x.strides.empty() && !NDArray::placeholder({}).view(x.shape, x.strides, 0).is_dense();
}

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

using Table = std::array<uint8_t, 256>;

Table requantizing_table(const TensorQParams& from, const TensorQParams& to) {
  const double scale = double{from.scale} / double{to.scale};
  Table table;
  for (int q = 0; q < 256; ++q) {
    const double rescaled = std::nearbyint((q - from.zero_point) * scale) + to.zero_point;
    table[static_cast<size_t>(q)] = static_cast<uint8_t>(std::clamp<double>(rescaled, 0, to.qmax()));
  }
  return table;
}

class TableStep : public nn::InferenceStep {
 public:
  TableStep(const nn::ValueInfo& x, const Table& table) : InferenceStep(x), table_(table) {}
  bool is_pointwise() const override { return true; }
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::look_up(static_cast<const uint8_t*>(inputs[0]), output().shape.numel(), table_.data(),
                     static_cast<uint8_t*>(out));
  }

 private:
  Table table_;
};

class ClampStep : public nn::InferenceStep {
 public:
  ClampStep(const nn::ValueInfo& x, int64_t low, int64_t high)
      : InferenceStep(x), low_(static_cast<uint8_t>(low)), high_(static_cast<uint8_t>(high)) {}
  bool is_pointwise() const override { return true; }
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
  if (has_gaps(inputs[0])) return nullptr;
  if (QuantizeImagesStep::can_take(inputs[0])) return std::make_unique<QuantizeImagesStep>(inputs[0], qparams_);
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

Requantize::Requantize(const TensorQParams& input, const TensorQParams& output) : input_(input), output_(output) {
  input.check("Requantize: input");
  output.check("Requantize: output");
}

std::unique_ptr<nn::InferenceStep> Requantize::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  return std::make_unique<TableStep>(inputs[0], requantizing_table(input_, output_));
}

Attributes Requantize::attributes() const {
  Attributes a;
  input_.to_attributes(a, "input_");
  output_.to_attributes(a, "output_");
  return a;
}

QuantizedTable::QuantizedTable() { table_ = register_buffer("table", NDArray::placeholder({256}, DType::uint8)); }

QuantizedTable::QuantizedTable(const std::vector<uint8_t>& table) : QuantizedTable() { fill(table); }

void QuantizedTable::fill(const std::vector<uint8_t>& table) {
  check<ValueError>(table.size() == 256, "QuantizedTable: ", table.size(), " entries, expected 256");
  load_state({{"table", NDArray::from_vector(table)}});
}

QuantizedTable::QuantizedTable(const TensorQParams& input, const TensorQParams& output) : QuantizedTable() {
  input.check("QuantizedTable: input");
  output.check("QuantizedTable: output");
  input_ = input;
  output_ = output;
}

QuantizedTable::QuantizedTable(const std::vector<uint8_t>& table, const TensorQParams& input,
                               const TensorQParams& output)
    : QuantizedTable(input, output) {
  fill(table);
}

Attributes QuantizedTable::attributes() const {
  Attributes a;
  if (input_) input_->to_attributes(a, "input_");
  if (output_) output_->to_attributes(a, "output_");
  return a;
}

std::unique_ptr<nn::InferenceStep> QuantizedTable::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  Table table;
  std::copy_n(std::as_const(table_).data().contiguous().data<uint8_t>(), table.size(), table.begin());
  return std::make_unique<TableStep>(inputs[0], table);
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
