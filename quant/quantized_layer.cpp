#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/bit_packing.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/quant/quantized_layer.h>

namespace thimble::quant {

namespace {

int small_int(const Attributes& attributes, const std::string& key) {
  const auto value = attributes.get<int64_t>(key);
  check<FormatError>(value >= 0 && value <= 255, "attribute '", key, "' is ", value, ", expected 0 to 255");
  return static_cast<int>(value);
}

nn::ValueInfo info_of(const Tensor& x) { return {x.shape(), x.dtype()}; }

// How large a quantized bias may be, so that it and any sum of k products fit int32.
int64_t bias_limit(int64_t k) { return std::numeric_limits<int32_t>::max() - k * 255 * 128; }

// The scale of a channel's weights, given the one that suits the weights alone: it is the bias's scale too. A bias that
// dwarfs its weights could leave int32, so the scale gets coarser; where all weights are zero, any scale suits them,
// and the finest keeps the bias exact.
float channel_scale(float for_weights, bool all_zero, float bias, float input_scale, int64_t k) {
  const double least = std::abs(double{bias}) / (double{input_scale} * static_cast<double>(bias_limit(k)) * 0.999);
  const float finest = std::max(static_cast<float>(least), std::numeric_limits<float>::min());
  return all_zero && bias != 0 ? finest : std::max(for_weights, finest);
}

}  // namespace

TensorQParams TensorQParams::from(const QParams& p) {
  thimble::check<ValueError>(p.scale.size() == 1, "quantized layers take activations with one scale a tensor, got ",
                             p.scale.size());
  const int bits = p.spec.bits - (p.spec.reduce_range ? 1 : 0);
  const int32_t shift = p.spec.is_signed ? 1 << (bits - 1) : 0;
  return {p.scale[0], p.zero_point[0] + shift, bits};
}

void TensorQParams::check(const char* what) const {
  thimble::check<ValueError>(std::isfinite(scale) && scale > 0, what, ": scale ", scale, " is not positive and finite");
  check_bits(bits, what);
  thimble::check<ValueError>(zero_point >= 0 && zero_point <= qmax(), what, ": zero point ", zero_point,
                             " is not in [0, ", qmax(), "]");
}

void TensorQParams::to_attributes(Attributes& attributes, const std::string& prefix) const {
  attributes.set(prefix + "scale", double{scale});
  attributes.set(prefix + "zero_point", int64_t{zero_point});
  attributes.set(prefix + "bits", int64_t{bits});
}

TensorQParams TensorQParams::from_attributes(const Attributes& a, const std::string& prefix) {
  return {static_cast<float>(a.get<double>(prefix + "scale")), small_int(a, prefix + "zero_point"),
          small_int(a, prefix + "bits")};
}

std::shared_ptr<const nn::InferenceStep> IntegerLayer::step_for(std::span<const Tensor> inputs) {
  std::lock_guard lock(mutex_);
  if (!prepared_.step || !std::ranges::equal(prepared_.inputs, inputs, {}, {}, info_of)) {
    std::vector<nn::ValueInfo> infos;
    for (const Tensor& x : inputs) infos.push_back(info_of(x));
    check_inputs(infos);
    prepared_ = {infos, inference_step(infos)};
  }
  return prepared_.step;
}

Tensor IntegerLayer::forward_all(std::span<const Tensor> inputs) {
  const std::shared_ptr<const nn::InferenceStep> step = step_for(inputs);
  std::vector<NDArray> arrays;
  std::vector<const void*> memory;
  for (const Tensor& x : inputs) {
    arrays.push_back(x.ndim() == 4 ? to_channels_last(x.data()) : x.data().contiguous());
    memory.push_back(std::as_const(arrays.back()).raw());
  }
  const nn::ValueInfo& info = step->output();
  NDArray out = info.is_image() ? channels_last_array(info.shape, info.dtype) : NDArray(info.shape, info.dtype);
  NDArray scratch({step->scratch_bytes()}, DType::uint8);
  step->run(memory, out.raw(), scratch.data<uint8_t>());
  return info.is_image() ? from_channels_last(out) : out;
}

Tensor IntegerLayer::forward_rows(std::span<const Tensor> inputs) {
  if (inputs.size() != 1 || inputs[0].ndim() != 4) return IntegerLayer::forward_all(inputs);
  const Shape& s = inputs[0].shape();
  const Tensor rows = inputs[0].data().reshape({s[0] * s[1] * s[2], s[3]});
  const NDArray y = IntegerLayer::forward_all(std::span(&rows, 1)).data();
  return y.reshape({s[0], s[1], s[2], y.shape(1)});
}

void IntegerLayer::check_one_uint8(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 1, type(), ": takes one input, got ", inputs.size());
  check<DTypeError>(inputs[0].dtype == DType::uint8, type(), ": expects uint8 input, got ", inputs[0].dtype);
}

void IntegerLayer::state_changed() {
  std::lock_guard lock(mutex_);
  prepared_ = {};
}

IntegerProduct::IntegerProduct(const char* type, const Shape& shape, const Quantization& quantization)
    : type_(type), shape_(shape), quantization_(quantization) {
  const int64_t out = shape[0];
  check<ValueError>(std::ranges::all_of(shape, [](int64_t d) { return d >= 1 && d <= INT32_MAX; }), type, ": weight ",
                    shape, " is out of range");
  NDArray::placeholder(shape, DType::int8);  // throws if its size overflows
  k_ = shape.numel() / out;
  check<ValueError>(k_ <= kernels::PackedInt8Weights::kMaxK, type, ": weight ", shape, " is out of range, sums are of ",
                    "at most ", kernels::PackedInt8Weights::kMaxK, " products");
  check_bits(quantization.weight_bits, str(type, ": weights"));
  quantization.input.check(str(type, ": input").c_str());
  if (quantization.output) quantization.output->check(str(type, ": output").c_str());
  weight_ = register_buffer("weight", is_packed() ? NDArray::placeholder(packed_shape(), DType::uint8)
                                                  : NDArray::placeholder(shape, DType::int8));
  weight_scale_ = register_buffer("weight_scale", NDArray::placeholder({out}));
  bias_ = register_buffer("bias", NDArray::placeholder({out}, DType::int32));
}

Shape IntegerProduct::packed_shape() const { return {shape_[0], kernels::packed_bytes(k_, quantization_.weight_bits)}; }

// An unsigned value is one of -2^(bits - 1), ..., of which a symmetric scheme does not use the first.
NDArray IntegerProduct::weight() const {
  if (!is_packed()) return weight_.data();
  const NDArray packed = weight_.data().contiguous();
  NDArray unpacked(shape_, DType::int8);
  std::vector<uint8_t> row(static_cast<size_t>(k_));
  for (int64_t o = 0; o < shape_[0]; ++o) {
    kernels::unpack_bits(packed.data<uint8_t>() + o * packed.shape(1), k_, quantization_.weight_bits, row.data());
    std::ranges::transform(row, unpacked.data<int8_t>() + o * k_,
                           [this](uint8_t v) { return static_cast<int8_t>(v - lowest()); });
  }
  return unpacked;
}

NDArray IntegerProduct::packed(const NDArray& weight) const {
  if (!is_packed()) return weight;
  NDArray packed(packed_shape(), DType::uint8);
  std::vector<uint8_t> row(static_cast<size_t>(k_));
  for (int64_t o = 0; o < shape_[0]; ++o) {
    std::transform(weight.data<int8_t>() + o * k_, weight.data<int8_t>() + (o + 1) * k_, row.begin(),
                   [this](int8_t v) { return static_cast<uint8_t>(v + lowest()); });
    kernels::pack_bits(row.data(), k_, quantization_.weight_bits, packed.data<uint8_t>() + o * packed.shape(1));
  }
  return packed;
}

NDArray IntegerProduct::shifted_weight() const {
  const NDArray values = weight().contiguous();
  if (weight_shift() == 0) return values;
  NDArray shifted(shape_, DType::int8);
  std::transform(values.data<int8_t>(), values.data<int8_t>() + values.numel(), shifted.data<int8_t>(),
                 [this](int8_t w) { return static_cast<int8_t>(w * (1 << weight_shift())); });
  return shifted;
}

void IntegerProduct::load_float(const ProductWeights& weights) {
  QParams p = weights.qparams;
  const auto out = static_cast<size_t>(shape_[0]);
  check<ValueError>(p.spec.is_signed && p.spec.scheme == QScheme::symmetric && (!p.spec.axis || p.spec.axis == 0) &&
                        p.spec.group_size == 0,
                    type_, ": weights must be signed and symmetric, per tensor or per output channel (axis 0)");
  if (!p.spec.axis) {
    p.spec.axis = 0;
    p.scale.resize(out, p.scale.at(0));
    p.zero_point.resize(out, 0);
  }
  const Range range = min_max(weights.weight.data(), p.spec);
  const auto bias = weights.bias.defined() ? weights.bias.data().to_vector<float>() : std::vector<float>(out);
  NDArray quantized_bias({shape_[0]}, DType::int32);
  const float input_scale = quantization_.input.scale;
  const auto steps = static_cast<float>(1 << weight_shift());
  for (size_t c = 0; c < out; ++c) {
    check<ValueError>(std::isfinite(bias[c]), type_, ": bias ", c, " is not finite");
    const bool all_zero = range.min[c] == 0 && range.max[c] == 0;
    const float scale = channel_scale(p.scale[c] / steps, all_zero, bias[c], input_scale, k_);
    p.scale[c] = scale * steps;
    quantized_bias.data<int32_t>()[c] =
        static_cast<int32_t>(std::nearbyint(double{bias[c]} / (double{input_scale} * double{scale})));
  }
  load_state({{"weight", packed(quantize(weights.weight.data(), p))},
              {"weight_scale", NDArray::from_vector(p.scale)},
              {"bias", quantized_bias}});
}

void IntegerProduct::state_changed() {
  IntegerLayer::state_changed();
  const int64_t limit = bias_limit(k_);
  for (const int64_t b : bias_.data().to_vector<int32_t>())
    check<ValueError>(std::abs(b) <= limit, type_, ": bias ", b, " is not in [-", limit, ", ", limit,
                      "], sums could leave int32");
  multiplier_ = weight_scale_.data().to_vector<float>();
  for (float& m : multiplier_) {
    check<ValueError>(std::isfinite(m) && m > 0, type_, ": weight scale ", m, " is not positive and finite");
    const double output_scale = quantization_.output ? double{quantization_.output->scale} : 1.0;
    const double multiplier = double{quantization_.input.scale} * double{m} / output_scale / (1 << weight_shift());
    check<ValueError>(multiplier <= std::numeric_limits<float>::max(), type_,
                      ": scales of input, weight and output multiply to ", multiplier, ", which float32 cannot hold");
    m = static_cast<float>(multiplier);
  }
}

Attributes IntegerProduct::quantization_attributes() const {
  Attributes a{{"weight_bits", int64_t{quantization_.weight_bits}}, {"relu", quantization_.relu}};
  quantization_.input.to_attributes(a, "input_");
  if (quantization_.output) quantization_.output->to_attributes(a, "output_");
  return a;
}

IntegerProduct::Quantization IntegerProduct::quantization_from(const Attributes& a) {
  return {
      .input = TensorQParams::from_attributes(a, "input_"),
      .output = a.contains("output_scale") ? std::optional(TensorQParams::from_attributes(a, "output_")) : std::nullopt,
      .weight_bits = small_int(a, "weight_bits"),
      .relu = a.get<bool>("relu")};
}

Requantization IntegerProduct::requantization(std::span<const int32_t> channel_sums) const {
  check<ValueError>(!multiplier_.empty(), type_, ": it has no weights yet");
  Requantization r{
      .bias = kernels::fold_zero_point(channel_sums, bias_.data().to_vector<int32_t>(), quantization_.input.zero_point),
      .multiplier = multiplier_,
      .relu = quantization_.relu};
  if (!quantization_.output) return r;
  r.zero_point = quantization_.output->zero_point;
  r.low = quantization_.relu ? r.zero_point : 0;
  r.high = quantization_.output->qmax();
  return r;
}

}  // namespace thimble::quant
