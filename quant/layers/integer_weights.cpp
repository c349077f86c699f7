#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/kernels/weight_only/bit_packing.h>
#include <thimble/core/platform/isa.h>
#include <thimble/quant/layers/integer_weights.h>
#include <thimble/quant/layers/packed_rows.h>

namespace thimble::quant {

namespace {

// Of steps(). Below it, units lose bits, and become 0 in the end.
constexpr float kSmallestStep = std::numeric_limits<float>::min();

}  // namespace

void IntegerWeights::Format::to_attributes(Attributes& a) const {
  a.set("weight_bits", int64_t{bits});
  if (group_size != 0) a.set("weight_group_size", group_size);
}

IntegerWeights::Format IntegerWeights::Format::from_attributes(const Attributes& a) {
  const auto bits = a.get<int64_t>("weight_bits");
  check<FormatError>(bits >= 2 && bits <= 8, "attribute 'weight_bits' is ", bits, ", expected 2 to 8");
  return {static_cast<int>(bits), a.get<int64_t>("weight_group_size", int64_t{0})};
}

IntegerWeights::IntegerWeights(std::string type, const Shape& shape, const Format& format)
    : type_(std::move(type)), shape_(shape), format_(format) {
  check<ValueError>(std::ranges::all_of(shape, [](int64_t d) { return d >= 1 && d <= INT32_MAX; }), type_, ": weight ",
                    shape, " is out of range");
  NDArray::placeholder(shape, DType::int8);  // throws if its size overflows
  k_ = shape.numel() / shape[0];
  check<ValueError>(k_ <= kernels::PackedInt8Weights::kMaxK, type_, ": weight ", shape,
                    " is out of range, sums are of ", "at most ", kernels::PackedInt8Weights::kMaxK, " products");
  check_bits(format.bits, str(type_, ": weights"));
  const int64_t group = format.group_size;
  check<ValueError>(group >= 0, type_, ": groups of ", group, " inputs of weight ", shape);
  values_ = has_packed_bits() ? NDArray::placeholder({shape[0], kernels::packed_bytes(k_, format.bits)}, DType::uint8)
                              : NDArray::placeholder(shape, DType::int8);
  scale_ = NDArray::placeholder(group == 0 ? Shape{shape[0]} : Shape{shape[0], groups()});
}

// What this layer has in common with itself alone: others that have the memory may see it otherwise, it may have had
// other contents, and kernels may want it otherwise on another instruction set.
nn::SharedWeights::Key IntegerWeights::key_of(uint64_t version, const nn::SharedWeights::Key& layout) const {
  const NDArray& values = values_.data();
  nn::SharedWeights::Key key{static_cast<int64_t>(version),
                             reinterpret_cast<intptr_t>(values.address()),
                             static_cast<int64_t>(active_isa()),
                             format_.bits,
                             format_.group_size,
                             shape_.ndim()};
  key.insert(key.end(), shape_.begin(), shape_.end());
  key.insert(key.end(), values.strides().begin(), values.strides().end());
  key.insert(key.end(), layout.begin(), layout.end());
  return key;
}

NDArray IntegerWeights::unpacked() const {
  if (!has_packed_bits()) return values_.data();
  const NDArray rows = unpack_rows(values_.data(), k_, format_.bits);
  NDArray unpacked(shape_, DType::int8);
  const int offset = 1 << (format_.bits - 1);
  std::transform(rows.data<uint8_t>(), rows.data<uint8_t>() + rows.numel(), unpacked.data<int8_t>(),
                 [offset](uint8_t v) { return static_cast<int8_t>(v - offset); });
  return unpacked;
}

NDArray IntegerWeights::with_packed_bits(const NDArray& weight) const {
  return has_packed_bits() ? pack_rows(weight, format_.bits) : weight;
}

NDArray IntegerWeights::dequantized() const {
  QuantizationSpec spec = QuantizationSpec::per_channel_weight(format_.bits);
  spec.group_size = format_.group_size;
  const auto scale = scale_.data().to_vector<float>();
  return dequantize(unpacked(), {spec, scale, std::vector<int32_t>(scale.size())});
}

NDArray IntegerWeights::shifted() const {
  const NDArray values = unpacked().contiguous();
  if (shift() == 0) return values;
  NDArray shifted(shape_, DType::int8);
  std::transform(values.data<int8_t>(), values.data<int8_t>() + values.numel(), shifted.data<int8_t>(),
                 [this](int8_t w) { return static_cast<int8_t>(w * (1 << shift())); });
  return shifted;
}

NDArray IntegerWeights::to_pack() const { return shift() == 0 ? values_.data().read_once().contiguous() : shifted(); }

std::vector<float> IntegerWeights::steps() const {
  const auto scale = scale_.data().to_vector<float>();
  const auto out = static_cast<size_t>(shape_[0]), count = static_cast<size_t>(groups());
  std::vector<float> steps(scale.size());
  for (size_t o = 0; o < out; ++o)
    for (size_t g = 0; g < count; ++g) {
      const float s = scale[o * count + g];
      check<ValueError>(std::isfinite(s) && s > 0, type_, ": weight scale ", s, " is not positive and finite");
      const float step = s / static_cast<float>(1 << shift());
      check<ValueError>(step >= kSmallestStep, type_, ": weight scale ", s, " is too small for weights of ",
                        format_.bits, " bits");
      steps[g * out + o] = step;
    }
  return steps;
}

QParams IntegerWeights::with_scales(const QParams& qparams) const {
  QParams p = qparams;
  check<ValueError>(p.spec.is_signed && p.spec.scheme == QScheme::symmetric && (!p.spec.axis || p.spec.axis == 0),
                    type_, ": weights must be signed and symmetric, per tensor, output channel (axis 0) or group");
  check<ValueError>(p.spec.bits == format_.bits && p.spec.group_size == format_.group_size, type_, ": weights of ",
                    format_.bits, " bits in groups of ", format_.group_size, " cannot have parameters for ",
                    p.spec.bits, " bits and groups of ", p.spec.group_size);
  if (!p.spec.axis) {
    p.spec.axis = 0;
    p.scale.resize(static_cast<size_t>(shape_[0]), p.scale.at(0));
    p.zero_point.resize(p.scale.size(), 0);
  }
  const float smallest = kSmallestStep * static_cast<float>(1 << shift());
  for (float& scale : p.scale)
    if (scale > 0 && scale < smallest) scale = smallest;
  return p;
}

IntegerWeights::State IntegerWeights::quantize(const NDArray& weight, const QParams& qparams) const {
  const QParams p = with_scales(qparams);
  return {with_packed_bits(quant::quantize(weight, p)), NDArray::from_vector(p.scale, scale_.shape())};
}

}  // namespace thimble::quant
