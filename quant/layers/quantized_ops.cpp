#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/int8/uint8_maps.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/inference/view_steps.h>
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
    {"QuantizedMul",
     [](const Attributes& a) {
       return std::make_shared<QuantizedMul>(TensorQParams::from_attributes(a, "a_"),
                                             TensorQParams::from_attributes(a, "b_"),
                                             TensorQParams::from_attributes(a, "output_"));
     }},
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

// What the kernel of two operands makes of them.
template <typename Args>
using BinaryKernel = void (*)(const uint8_t* a, const uint8_t* b, int64_t n, const Args& args, uint8_t* out);

template <typename Args>
class BinaryStep : public nn::InferenceStep {
 public:
  BinaryStep(const nn::ValueInfo& x, BinaryKernel<Args> kernel, const Args& args)
      : InferenceStep(x), kernel_(kernel), args_(args) {}
  bool is_pointwise() const override { return true; }
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernel_(static_cast<const uint8_t*>(inputs[0]), static_cast<const uint8_t*>(inputs[1]), output().shape.numel(),
            args_, static_cast<uint8_t*>(out));
  }

 private:
  BinaryKernel<Args> kernel_;
  Args args_;
};

// Operands of different shapes are spread out first.
template <typename Args>
class BroadcastStep : public nn::InferenceStep {
 public:
  BroadcastStep(const nn::ValueInfo& output, std::span<const nn::ValueInfo> inputs, BinaryKernel<Args> kernel,
                const Args& args)
      : InferenceStep(output), inputs_(inputs.begin(), inputs.end()), kernel_(kernel), args_(args) {}

  int64_t scratch_bytes() const override { return 2 * output().nbytes(); }
  // Unless an operand is the same for all samples.
  bool is_per_sample() const override {
    const Shape& s = output().shape;
    return std::ranges::all_of(inputs_, [&](const nn::ValueInfo& x) {
      return s.ndim() > 0 && x.shape.ndim() == s.ndim() && x.shape[0] == s[0];
    });
  }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    uint8_t* wide[] = {scratch, scratch + output().nbytes()};
    for (size_t i = 0; i < 2; ++i) nn::array_over(wide[i], output()).copy_from(nn::array_over(inputs[i], inputs_[i]));
    kernel_(wide[0], wide[1], output().shape.numel(), args_, static_cast<uint8_t*>(out));
  }

 private:
  std::vector<nn::ValueInfo> inputs_;
  BinaryKernel<Args> kernel_;
  Args args_;
};

// An operand that has one number for each channel of an image, as a gate has, is repeated for a piece of the pixels.
template <typename Args>
class ChannelStep : public nn::InferenceStep {
 public:
  // `args` are those of (image, gate), whichever of the operands is which.
  ChannelStep(const nn::ValueInfo& image, size_t gate, BinaryKernel<Args> kernel, const Args& args)
      : InferenceStep(image), gate_(gate), kernel_(kernel), args_(args) {}

  int64_t scratch_bytes() const override { return output().shape[0] * piece(); }
  // The gates are in scratch memory before anything is written.
  bool is_pointwise() const override { return true; }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const auto* x = static_cast<const uint8_t*>(inputs[1 - gate_]);
    const auto* gates = static_cast<const uint8_t*>(inputs[gate_]);
    const Shape& s = output().shape;
    const int64_t channels = s[1], image = channels * s[2] * s[3], each = piece();
    for (int64_t at = 0; at < s[0] * each; at += channels)
      std::copy_n(gates + at / each * channels, channels, scratch + at);
    const int64_t pieces = (image + each - 1) / each;
    parallel_for(s[0] * pieces, kGrain / each + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % pieces * each, from = i / pieces * image + first;
        kernel_(x + from, scratch + i / pieces * each, std::min(each, image - first), args_,
                static_cast<uint8_t*>(out) + from);
      }
    });
  }

 private:
  static constexpr int64_t kGrain = 8192, kPiece = 4096;  // bytes: worth another thread; that stay in the cache

  // A whole number of pixels, at least one.
  int64_t piece() const {
    const int64_t channels = std::max<int64_t>(output().shape[1], 1);
    return std::max<int64_t>(kPiece / channels, 1) * channels;
  }

  size_t gate_;
  BinaryKernel<Args> kernel_;
  Args args_;
};

kernels::QuantizedAddArgs swapped(kernels::QuantizedAddArgs args) {
  std::swap(args.a_scale, args.b_scale);
  std::swap(args.a_zero_point, args.b_zero_point);
  return args;
}

kernels::QuantizedMulArgs swapped(kernels::QuantizedMulArgs args) {
  std::swap(args.a_zero_point, args.b_zero_point);
  return args;
}

bool is_gate_of(const nn::ValueInfo& gate, const nn::ValueInfo& image) {
  if (!image.is_image() || !gate.is_image() || image.shape.numel() == 0) return false;
  return gate.shape == Shape{image.shape[0], image.shape[1], 1, 1};
}

// Null for operands that do not lie as usual.
template <typename Args>
std::unique_ptr<nn::InferenceStep> binary_step(const char* op, std::span<const nn::ValueInfo> inputs,
                                               BinaryKernel<Args> kernel, const Args& args) {
  if (inputs[0] == inputs[1]) return std::make_unique<BinaryStep<Args>>(inputs[0], kernel, args);
  if (!inputs[0].flattened_image.empty() || !inputs[1].flattened_image.empty()) return nullptr;
  if (is_gate_of(inputs[1], inputs[0])) return std::make_unique<ChannelStep<Args>>(inputs[0], 1, kernel, args);
  if (is_gate_of(inputs[0], inputs[1])) return std::make_unique<ChannelStep<Args>>(inputs[1], 0, kernel, swapped(args));
  const Shape shape = broadcast_shapes(inputs[0].shape, inputs[1].shape, op);
  return std::make_unique<BroadcastStep<Args>>(nn::ValueInfo{shape, DType::uint8}, inputs, kernel, args);
}

void check_two_uint8(const char* op, std::span<const nn::ValueInfo> inputs) {
  check<ValueError>(inputs.size() == 2, op, ": takes two inputs, got ", inputs.size());
  for (const nn::ValueInfo& x : inputs)
    check<DTypeError>(x.dtype == DType::uint8, op, ": expects uint8 inputs, got ", x.dtype);
  broadcast_shapes(inputs[0].shape, inputs[1].shape, op);
}

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

QuantizedAdd::QuantizedAdd(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output, bool relu)
    : a_(a), b_(b), output_(output), relu_(relu) {
  a.check("QuantizedAdd: first input");
  b.check("QuantizedAdd: second input");
  output.check("QuantizedAdd: output");
  for (const TensorQParams& x : {a, b}) checked_multiplier("QuantizedAdd", double{x.scale} / double{output.scale});
}

void QuantizedAdd::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_two_uint8("quantized_add", inputs);
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
  return binary_step("quantized_add", inputs, kernels::quantized_add, args);
}

Attributes QuantizedAdd::attributes() const {
  Attributes a{{"relu", relu_}};
  a_.to_attributes(a, "a_");
  b_.to_attributes(a, "b_");
  output_.to_attributes(a, "output_");
  return a;
}

QuantizedMul::QuantizedMul(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output)
    : a_(a), b_(b), output_(output) {
  a.check("QuantizedMul: first input");
  b.check("QuantizedMul: second input");
  output.check("QuantizedMul: output");
  checked_multiplier("QuantizedMul", double{a.scale} * double{b.scale} / double{output.scale});
}

void QuantizedMul::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_two_uint8("quantized_mul", inputs);
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
  return binary_step("quantized_mul", inputs, kernels::quantized_mul, args);
}

Attributes QuantizedMul::attributes() const {
  Attributes a;
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
