#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_linear.h>
#include <thimble/serialization/onnx/block_weights.h>
#include <thimble/serialization/onnx/integer_products.h>

namespace thimble::onnx {

namespace {

using quant::TensorQParams;

constexpr float kSmallestScale = std::numeric_limits<float>::min();

// w = scale * q of [out, k]. `group_size` consecutive ones of a row share a scale; 0: all of it do.
struct IntegerRows {
  int64_t out = 0, k = 0, group_size = 0;
  std::vector<int32_t> q;           // [out, k]
  std::vector<float> scale;         // [out, groups]
  std::vector<int32_t> zero_point;  // the same

  int64_t groups() const { return group_size == 0 ? 1 : (k - 1) / group_size + 1; }
  size_t parameter(int64_t row, int64_t i) const {
    return static_cast<size_t>(row * groups() + (group_size == 0 ? 0 : i / group_size));
  }
  bool is_zero(int64_t row) const {
    return std::all_of(q.begin() + row * k, q.begin() + (row + 1) * k, [](int32_t v) { return v == 0; });
  }
};

// A parameter for each row and group, from `values` that lie as the constant's scales do; nothing if they are not so
// spread. `is_transposed`: the constant is [in, out].
template <typename T>
std::vector<T> spread(const DequantizedConstant& c, const NDArray& values, const IntegerRows& rows,
                      bool is_transposed) {
  const auto count = static_cast<size_t>(rows.out * rows.groups());
  if (!values.defined()) return std::vector<T>(count);
  if (values.numel() == 1 && c.block_size == 0) return std::vector<T>(count, values.item<T>());
  const Shape expected = is_transposed ? Shape{rows.groups(), rows.out} : Shape{rows.out, rows.groups()};
  if (c.block_size == 0) return values.shape() == Shape{rows.out} ? values.to_vector<T>() : std::vector<T>();
  if (values.shape() != expected) return {};
  return (is_transposed ? values.transpose(0, 1) : values).to_vector<T>();
}

// Whether the constant's parameters lie along output channels, or in blocks along inputs.
bool lies_along_rows(const DequantizedConstant& c, bool is_transposed) {
  if (c.scale.numel() == 1 && c.block_size == 0) return true;
  const int ndim = c.values.ndim();
  const int64_t axis = c.axis < 0 ? c.axis + ndim : c.axis;
  const bool is_first = axis == 0, is_second = axis == 1 && ndim == 2;
  if (c.block_size != 0) return ndim == 2 && (is_transposed ? is_first : is_second);
  return is_transposed ? is_second : is_first;
}

// The integers whose products with the scales are the weights, if there are some.
bool divides(IntegerRows& rows, const NDArray& weight, int32_t most) {
  const NDArray dense = weight.contiguous();
  const float* w = dense.data<float>();
  rows.q.resize(static_cast<size_t>(rows.out * rows.k));
  for (int64_t o = 0; o < rows.out; ++o)
    for (int64_t i = 0; i < rows.k; ++i) {
      const float value = w[o * rows.k + i], scale = rows.scale[rows.parameter(o, i)];
      const float q = scale == 0 ? 0 : std::nearbyint(value / scale);
      if (!(std::abs(q) <= static_cast<float>(most)) || scale * q != value) return false;
      rows.q[static_cast<size_t>(o * rows.k + i)] = static_cast<int32_t>(q);
    }
  return true;
}

std::optional<IntegerRows> integer_rows(const NDArray& weight, const DequantizedConstant& c) {
  if (weight.dtype() != DType::float32 || c.scale.dtype() != DType::float32 || c.values.ndim() == 0)
    return std::nullopt;
  const bool is_matrix = weight.ndim() == 2;
  for (const bool is_transposed : {false, true}) {
    if (is_transposed && !is_matrix) break;
    const Shape shape = is_transposed ? Shape{weight.shape(1), weight.shape(0)} : weight.shape();
    const bool fits = is_matrix ? c.values.shape() == shape
                                : c.values.numel() == weight.numel() && c.values.shape(0) == weight.shape(0);
    if (!fits || !lies_along_rows(c, is_transposed)) continue;
    IntegerRows rows{weight.shape(0), weight.numel() / weight.shape(0), c.block_size, {}, {}, {}};
    rows.scale = spread<float>(c, c.scale, rows, is_transposed);
    rows.zero_point = spread<int32_t>(c, c.zero_point, rows, is_transposed);
    const bool has_all = rows.scale.size() == static_cast<size_t>(rows.out * rows.groups()) &&
                         rows.zero_point.size() == rows.scale.size();
    if (has_all && divides(rows, weight, (1 << c.bits) - 1)) return rows;
  }
  return std::nullopt;
}

// A bias in double and, where it was dequantized from such, as integers of a scale of its own.
struct Bias {
  std::vector<double> value;
  std::vector<int32_t> q;
  std::vector<float> scale;
};

Bias bias_of(const Tensor& bias, const DequantizedConstant* from, int64_t out) {
  const auto count = static_cast<size_t>(out);
  if (!bias.defined()) return {std::vector<double>(count), {}, {}};
  Bias b{bias.data().to_vector<double>(), {}, {}};
  const bool has_integers = from && from->values.dtype() == DType::int32 && from->values.shape() == bias.shape() &&
                            from->block_size == 0 && !from->zero_point.defined();
  if (!has_integers) return b;
  b.q = from->values.to_vector<int32_t>();
  b.scale = from->scale.to_vector<float>();
  b.scale.resize(count, b.scale.at(0));
  for (size_t i = 0; i < count; ++i) {
    if (static_cast<double>(static_cast<float>(b.q[i]) * b.scale[i]) != b.value[i]) return {b.value, {}, {}};
    b.value[i] = double{b.scale[i]} * b.q[i];
  }
  return b;
}

// On the grid of the sums of `products` products: input scale times the row's (first) scale. A row of zeros may have
// any scale, so it gets one that suits its bias. Nothing, with the reason, where that leaves int32.
std::optional<std::vector<int32_t>> rounded_bias(const Bias& bias, float input_scale, int64_t products,
                                                 IntegerRows& rows, std::string& reason) {
  const double limit = static_cast<double>(std::numeric_limits<int32_t>::max() - products * 255 * 128);
  std::vector<int32_t> rounded;
  for (int64_t o = 0; o < rows.out; ++o) {
    const auto c = static_cast<size_t>(o);
    const double b = bias.value[c];
    if (rows.is_zero(o)) {
      const auto least = static_cast<float>(std::abs(b) / (double{input_scale} * limit * 0.999));
      for (int64_t g = 0; g < rows.groups(); ++g) {
        float& s = rows.scale[static_cast<size_t>(o * rows.groups() + g)];
        if (!(s >= kSmallestScale && s >= least)) s = b == 0 ? 1 : std::max(least, kSmallestScale);
      }
    }
    const float scale = rows.scale[rows.parameter(o, 0)];
    const bool is_on_grid = !bias.q.empty() && bias.scale[c] == input_scale * scale;
    const double q = is_on_grid ? bias.q[c] : std::nearbyint(b / (double{input_scale} * double{scale}));
    if (!(std::abs(q) <= limit)) {
      reason = str("the bias of channel ", o, " leaves 32 bits on the grid of its sums");
      return std::nullopt;
    }
    rounded.push_back(static_cast<int32_t>(q));
  }
  return rounded;
}

// [out, in, ...] of which each is the sum of two integers of 8 bits: [out, 2 * in, ...].
NDArray halves_of(const IntegerRows& rows, const Shape& shape) {
  NDArray first(shape, DType::int8), second(shape, DType::int8);
  for (size_t i = 0; i < rows.q.size(); ++i) {
    const int32_t half = std::clamp(rows.q[i], -127, 127);
    first.data<int8_t>()[i] = static_cast<int8_t>(half);
    second.data<int8_t>()[i] = static_cast<int8_t>(rows.q[i] - half);
  }
  Shape doubled = shape;
  doubled[1] *= 2;
  NDArray both(doubled, DType::int8);
  both.slice(1, 0, shape[1]).copy_from(first);
  both.slice(1, shape[1], doubled[1]).copy_from(second);
  return both;
}

NDArray narrow(const IntegerRows& rows, const Shape& shape) {
  return NDArray::from_vector(std::vector<int8_t>(rows.q.begin(), rows.q.end()), shape);
}

IntegerProductLayer because(std::string reason) { return {nullptr, std::nullopt, std::move(reason)}; }

struct Operands {
  Tensor weight, bias;
  const nn::Conv2d* conv = nullptr;
};

Operands operands_of(const nn::Module& layer) {
  if (const auto* conv = dynamic_cast<const nn::Conv2d*>(&layer)) return {conv->weight, conv->bias, conv};
  const auto& linear = dynamic_cast<const nn::Linear&>(layer);
  return {linear.weight, linear.bias, nullptr};
}

constexpr const char* kNoIntegers = "its weights are not integers times a scale for each output channel";

}  // namespace

IntegerProductLayer integer_product(const nn::Module& layer, const QuantizedOperands& from, const TensorQParams& input,
                                    const std::optional<TensorQParams>& output) {
  const Operands operands = operands_of(layer);
  const NDArray& weight = operands.weight.data();
  std::optional<IntegerRows> rows = integer_rows(weight, *from.weight);
  if (!rows) return because(kNoIntegers);

  const bool is_wide = std::ranges::any_of(rows->q, [](int32_t q) { return q < -128 || q > 127; });
  const bool is_too_wide = std::ranges::any_of(rows->q, [](int32_t q) { return q > 254 || q < -255; });
  const int64_t groups = operands.conv ? operands.conv->options().groups : 1;
  if (is_too_wide || (is_wide && (groups > 1 || rows->group_size != 0)))
    return because("its weights less their zero points have more than 8 bits");
  const NDArray q = is_wide ? halves_of(*rows, weight.shape()) : narrow(*rows, weight.shape());

  std::string reason;
  const auto bias = rounded_bias(bias_of(operands.bias, from.bias.get(), rows->out), input.scale,
                                 rows->k * (is_wide ? 2 : 1), *rows, reason);
  if (!bias) return because(reason);

  const Shape scales = rows->group_size == 0 ? Shape{rows->out} : Shape{rows->out, rows->groups()};
  const NamedArrays state{{"weight", q},
                          {"weight_scale", NDArray::from_vector(rows->scale, scales)},
                          {"bias", NDArray::from_vector(*bias)}};
  try {
    IntegerProductLayer result;
    if (operands.conv)
      result.layer = std::make_shared<quant::QuantizedConv2d>(
          q.shape(), operands.conv->options(), quant::IntegerProduct::Quantization{.input = input, .output = output});
    else
      result.layer = std::make_shared<quant::QuantizedLinear>(
          quant::QuantizedLinear::Config{.in_features = q.shape(1),
                                         .out_features = q.shape(0),
                                         .input = input,
                                         .output = output,
                                         .weight_group_size = rows->group_size});
    result.layer->load_state(state);
    if (is_wide) result.doubled_axis = operands.conv ? 1 : -1;
    return result;
  } catch (const ValueError& e) {
    return because(e.what());
  }
}

IntegerProductLayer weight_only_product(const nn::Module& layer, const QuantizedOperands& from) {
  const Operands operands = operands_of(layer);
  if (operands.conv) return because("its input is not quantized");
  const NDArray& weight = operands.weight.data();
  const std::optional<IntegerRows> rows = integer_rows(weight, *from.weight);
  if (!rows) return because(kNoIntegers);
  const int bits = from.weight->bits;
  const DType dtype = from.weight->values.dtype();
  if (dtype != DType::int8 && dtype != DType::uint8) return because("its weights have more than 8 bits");
  const int32_t shift = dtype == DType::int8 ? 1 << (bits - 1) : 0, last = (1 << bits) - 1;
  BlockWeights w{rows->out, rows->k, bits, rows->group_size, {}, rows->scale, {}};
  for (const int32_t z : rows->zero_point) {
    if (z + shift < 0 || z + shift > last) return because("its zero points are out of range");
    w.zero_point.push_back(static_cast<uint8_t>(z + shift));
  }
  for (int64_t o = 0; o < rows->out; ++o)
    for (int64_t i = 0; i < rows->k; ++i) {
      const int32_t u = rows->q[static_cast<size_t>(o * rows->k + i)] + w.zero_point[rows->parameter(o, i)];
      if (u < 0 || u > last) return because(kNoIntegers);
      w.values.push_back(static_cast<uint8_t>(u));
    }
  const NDArray bias = operands.bias.defined() ? operands.bias.data() : NDArray();
  const WeightOnlyTensors tensors = weight_only_tensors(std::move(w), bias);
  try {
    IntegerProductLayer result{nn::make_layer("WeightOnlyLinear", tensors.attributes), std::nullopt, ""};
    result.layer->load_state(tensors.tensors);
    return result;
  } catch (const ValueError& e) {
    return because(e.what());
  }
}

}  // namespace thimble::onnx
