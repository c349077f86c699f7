#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/reduce/min_max.h>
#include <thimble/quant/blocks.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

namespace {

void check_qparams(const char* op, const Blocks& blocks, const QParams& p, const Shape& shape) {
  check_bits(p.spec.bits, op);
  check<ShapeError>(static_cast<int64_t>(p.scale.size()) == blocks.channels && p.scale.size() == p.zero_point.size(),
                    op, ": ", p.scale.size(), " scales and ", p.zero_point.size(), " zero points for ", blocks.channels,
                    " channels of ", shape);
  for (const float scale : p.scale)
    check<ValueError>(std::isfinite(scale) && scale > 0, op, ": scale ", scale, " is not positive and finite");
  for (const int32_t zero_point : p.zero_point)
    check<ValueError>(zero_point >= p.spec.qmin() && zero_point <= p.spec.qmax(), op, ": zero point ", zero_point,
                      " is not in [", p.spec.qmin(), ", ", p.spec.qmax(), "]");
}

int bits_used(const QuantizationSpec& spec) { return spec.bits - (spec.reduce_range ? 1 : 0); }

}  // namespace

int64_t group_count(int64_t elements, int64_t group_size) {
  return group_size == 0 || elements == 0 ? 1 : (elements - 1) / group_size + 1;
}

void check_bits(int64_t bits, std::string_view what) {
  check<ValueError>(bits >= 2 && bits <= 8, what, ": ", bits, " bits are not between 2 and 8");
}

std::string_view name(QScheme scheme) { return scheme == QScheme::affine ? "affine" : "symmetric"; }

QScheme qscheme_from_name(std::string_view name) {
  if (name == "affine") return QScheme::affine;
  if (name == "symmetric") return QScheme::symmetric;
  throw ValueError(str("unknown quantization scheme '", name, "'; it is affine or symmetric"));
}

std::string_view name(DynamicRange range) { return range == DynamicRange::row ? "row" : "call"; }

DynamicRange dynamic_range_from_name(std::string_view name) {
  if (name == "row") return DynamicRange::row;
  if (name == "call") return DynamicRange::call;
  throw ValueError(str("unknown range of dynamic quantization '", name, "'; it is of each row or of each call"));
}

int32_t QuantizationSpec::qmin() const {
  if (is_signed) return -(1 << (bits_used(*this) - 1)) + (scheme == QScheme::symmetric ? 1 : 0);
  return scheme == QScheme::symmetric ? 1 : 0;
}

int32_t QuantizationSpec::qmax() const { return (1 << (bits_used(*this) - (is_signed ? 1 : 0))) - 1; }

QuantizationSpec QuantizationSpec::per_channel_weight(int bits) {
  return {.bits = bits, .is_signed = true, .scheme = QScheme::symmetric, .axis = 0};
}

QuantizationSpec QuantizationSpec::activation(int bits) { return {.bits = bits}; }

Attributes QuantizationSpec::to_attributes() const {
  Attributes a{{"bits", int64_t{bits}},
               {"signed", is_signed},
               {"scheme", std::string(name(scheme))},
               {"truncate_zero_point", zero_point_rounding == ZeroPointRounding::truncate}};
  if (axis) a.set("axis", int64_t{*axis});
  if (group_size != 0) a.set("group_size", group_size);
  if (reduce_range) a.set("reduce_range", true);
  return a;
}

QuantizationSpec QuantizationSpec::from_attributes(const Attributes& a) {
  QuantizationSpec spec;
  const auto bits = a.get<int64_t>("bits");
  check<FormatError>(bits >= 2 && bits <= 8, "quantization: ", bits, " bits are not between 2 and 8");
  spec.bits = static_cast<int>(bits);
  spec.is_signed = a.get<bool>("signed");
  const auto scheme = a.get<std::string>("scheme");
  check<FormatError>(scheme == "affine" || scheme == "symmetric", "quantization: unknown scheme '", scheme, "'");
  spec.scheme = qscheme_from_name(scheme);
  if (a.get<bool>("truncate_zero_point", false)) spec.zero_point_rounding = ZeroPointRounding::truncate;
  spec.reduce_range = a.get<bool>("reduce_range", false);
  check<FormatError>(bits_used(spec) >= 2, "quantization: ", bits, " bits leave too few integers for reduce_range");
  if (a.contains("axis")) {
    const auto axis = a.get<int64_t>("axis");
    check<FormatError>(axis >= -Shape::kMaxDims && axis < Shape::kMaxDims, "quantization: axis ", axis);
    spec.axis = static_cast<int>(axis);
  }
  spec.group_size = a.get<int64_t>("group_size", int64_t{0});
  check<FormatError>(spec.group_size >= 0 && (spec.group_size == 0 || spec.axis == 0), "quantization: groups of ",
                     spec.group_size, " elements, which need axis 0");
  return spec;
}

float choose_scale(float low, float high, const QuantizationSpec& spec) {
  const int32_t steps = spec.scheme == QScheme::affine ? spec.qmax() - spec.qmin() : (spec.qmax() - spec.qmin()) / 2;
  // In float32 as torch.ao computes it; in double where the width of the range leaves float32.
  float scale = spec.scheme == QScheme::affine ? (high - low) / static_cast<float>(steps)
                                               : std::max(-low, high) / static_cast<float>(steps);
  if (!std::isfinite(scale)) scale = static_cast<float>((double{high} - double{low}) / steps);
  if (low == 0 && high == 0) return 1;
  return std::max(scale, std::numeric_limits<float>::min());
}

int32_t choose_zero_point(float low, float scale, const QuantizationSpec& spec) {
  if (spec.scheme == QScheme::symmetric) return spec.is_signed ? 0 : (spec.qmin() + spec.qmax()) / 2;
  const float steps = -low / scale;
  const float rounded =
      spec.zero_point_rounding == ZeroPointRounding::nearest ? std::nearbyint(steps) : std::trunc(steps);
  return std::clamp(spec.qmin() + static_cast<int32_t>(rounded), spec.qmin(), spec.qmax());
}

QParams choose_qparams(const std::vector<float>& min, const std::vector<float>& max, const QuantizationSpec& spec) {
  check_bits(spec.bits, "choose_qparams");
  check<ValueError>(bits_used(spec) >= 2, "choose_qparams: ", spec.bits, " bits leave too few integers for ",
                    "reduce_range");
  check<ValueError>(min.size() == max.size() && !min.empty(), "choose_qparams: ", min.size(), " minima and ",
                    max.size(), " maxima");
  QParams out{spec, {}, {}};
  for (size_t i = 0; i < min.size(); ++i) {
    check<ValueError>(std::isfinite(min[i]) && std::isfinite(max[i]), "choose_qparams: the range [", min[i], ", ",
                      max[i], "] is not finite");
    check<ValueError>(min[i] <= max[i], "choose_qparams: the range [", min[i], ", ", max[i], "] is empty");
    const float low = std::min(min[i], 0.0f), high = std::max(max[i], 0.0f);
    out.scale.push_back(choose_scale(low, high, spec));
    out.zero_point.push_back(choose_zero_point(low, out.scale.back(), spec));
  }
  return out;
}

QParams choose_qparams(float min, float max, const QuantizationSpec& spec) {
  return choose_qparams(std::vector<float>{min}, std::vector<float>{max}, spec);
}

QParams choose_qparams(const NDArray& x, const QuantizationSpec& spec) {
  const Range range = min_max(x, spec);
  return choose_qparams(range.min, range.max, spec);
}

Range min_max(const NDArray& x, const QuantizationSpec& spec, std::string_view what) {
  check<DTypeError>(x.dtype() == DType::float32, what, ": ranges are taken from float32 values, got ", x.dtype());
  check<ValueError>(x.numel() > 0, what, ": there are no values to take a range from");
  const NDArray values = x.contiguous();
  const Blocks blocks(x.shape(), spec, what);
  const auto channels = static_cast<size_t>(blocks.channels);
  Range range{std::vector<float>(channels), std::vector<float>(channels)};
  const float* first = values.data<float>();
  bool finite = true;
  if (blocks.is_even())
    finite = kernels::min_max(first, {blocks.outer, blocks.channels, blocks.inner}, range.min.data(), range.max.data());
  else
    for (int64_t row = 0; row < blocks.rows(); ++row)
      finite &= kernels::min_max(first + blocks.begin(row), {1, 1, blocks.size(row)}, &range.min[blocks.channel(row)],
                                 &range.max[blocks.channel(row)]);
  check<ValueError>(finite, what, ": the values hold NaN or infinity");
  return range;
}

NDArray quantize(const NDArray& x, const QParams& p) {
  const Blocks blocks(x.shape(), p.spec, "quantize");
  check_qparams("quantize", blocks, p, x.shape());
  check<DTypeError>(x.dtype() == DType::float32, "quantize: expects float32, got ", x.dtype());
  const NDArray values = x.contiguous();
  NDArray out(x.shape(), p.spec.dtype());
  for (int64_t row = 0; row < blocks.rows(); ++row) {
    const auto c = blocks.channel(row);
    const int64_t begin = blocks.begin(row), size = blocks.size(row);
    const float* in = values.data<float>() + begin;
    const kernels::QuantizeArgs args{p.scale[c], p.zero_point[c], p.spec.qmin(), p.spec.qmax()};
    if (p.spec.is_signed)
      kernels::quantize(in, size, args, out.data<int8_t>() + begin);
    else
      kernels::quantize(in, size, args, out.data<uint8_t>() + begin);
  }
  return out;
}

NDArray dequantize(const NDArray& q, const QParams& p) {
  const Blocks blocks(q.shape(), p.spec, "dequantize");
  check_qparams("dequantize", blocks, p, q.shape());
  check<DTypeError>(q.dtype() == p.spec.dtype(), "dequantize: expects ", p.spec.dtype(), ", got ", q.dtype());
  const NDArray values = q.contiguous();
  NDArray out(q.shape());
  for (int64_t row = 0; row < blocks.rows(); ++row) {
    const auto c = blocks.channel(row);
    const int64_t begin = blocks.begin(row), size = blocks.size(row);
    float* to = out.data<float>() + begin;
    if (p.spec.is_signed)
      kernels::dequantize(values.data<int8_t>() + begin, size, p.scale[c], p.zero_point[c], to);
    else
      kernels::dequantize(values.data<uint8_t>() + begin, size, p.scale[c], p.zero_point[c], to);
  }
  return out;
}

}  // namespace thimble::quant
