#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/small_float.h>

namespace thimble {

namespace {

constexpr float kInfinite = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

struct SmallFloatFormat {
  std::string_view name;
  int bits, mantissa_bits, bias;
  float largest;
  bool has_infinity, has_negative_zero;

  int exponent_bits() const { return bits - 1 - mantissa_bits; }
  int smallest_exponent() const { return 1 - bias; }
};

constexpr SmallFloatFormat kFormats[] = {{"float8e4m3fn", 8, 3, 7, 448, false, true},
                                         {"float8e4m3fnuz", 8, 3, 8, 240, false, false},
                                         {"float8e5m2", 8, 2, 15, 57344, true, true},
                                         {"float8e5m2fnuz", 8, 2, 16, 57344, false, false},
                                         {"float4e2m1", 4, 1, 1, 6, false, true}};

const SmallFloatFormat& format_of(SmallFloat format) { return kFormats[static_cast<size_t>(format)]; }

}  // namespace

std::optional<SmallFloat> small_float_from_name(std::string_view name) {
  const auto* found = std::ranges::find(kFormats, name, &SmallFloatFormat::name);
  if (found == std::end(kFormats)) return std::nullopt;
  return static_cast<SmallFloat>(found - kFormats);
}

float small_float_value(uint8_t bits, SmallFloat format) {
  const SmallFloatFormat& f = format_of(format);
  const int mantissa = bits & ((1 << f.mantissa_bits) - 1);
  const int exponent = (bits >> f.mantissa_bits) & ((1 << f.exponent_bits()) - 1);
  const bool is_negative = (bits >> (f.bits - 1)) & 1, is_last = exponent == (1 << f.exponent_bits()) - 1;
  if (!f.has_negative_zero && bits == 0x80) return kNaN;
  if (f.has_infinity && is_last) return mantissa != 0 ? kNaN : is_negative ? -kInfinite : kInfinite;
  const float magnitude =
      exponent == 0
          ? std::ldexp(static_cast<float>(mantissa), f.smallest_exponent() - f.mantissa_bits)
          : std::ldexp(static_cast<float>(mantissa + (1 << f.mantissa_bits)), exponent - f.bias - f.mantissa_bits);
  if (magnitude > f.largest) return kNaN;  // float8e4m3fn's
  return is_negative ? -magnitude : magnitude;
}

float round_to_small_float(float x, SmallFloat format, bool saturate) {
  const SmallFloatFormat& f = format_of(format);
  const bool is_narrow = f.bits < 8;
  if (std::isnan(x)) return is_narrow ? f.largest : kNaN;
  float magnitude = std::abs(x);
  if (std::isfinite(magnitude) && magnitude > 0) {
    const int exponent = std::max(std::ilogb(magnitude), f.smallest_exponent());
    const float step = std::ldexp(1.0f, exponent - f.mantissa_bits);
    magnitude = std::nearbyint(magnitude / step) * step;
  }
  if (magnitude > f.largest) magnitude = saturate || is_narrow ? f.largest : f.has_infinity ? kInfinite : kNaN;
  return std::signbit(x) && (f.has_negative_zero || magnitude != 0) ? -magnitude : magnitude;
}

}  // namespace thimble
