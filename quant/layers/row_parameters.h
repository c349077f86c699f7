// Parameters that a row of values gives itself. Internal to quant.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/reduce/min_max.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

struct RowParameters {
  float scale = 1;
  int32_t zero_point = 0;
  bool all_zero = true;
};

/// Those of choose_qparams(); the scale is NaN where the values are not finite.
inline RowParameters row_parameters(const float* x, int64_t n, const QuantizationSpec& spec) {
  float low = 0, high = 0;
  if (n > 0 && !kernels::min_max(x, {1, 1, n}, &low, &high)) return {std::numeric_limits<float>::quiet_NaN(), 0, false};
  low = std::min(low, 0.0f);
  high = std::max(high, 0.0f);
  const float scale = choose_scale(low, high, spec);
  return {scale, choose_zero_point(low, scale, spec), low == 0 && high == 0};
}

/// Quantizes a row by its own parameters, unless its values are not finite.
inline RowParameters quantize_row(const float* x, int64_t n, const QuantizationSpec& spec, uint8_t* out) {
  const RowParameters p = row_parameters(x, n, spec);
  if (p.scale == p.scale) kernels::quantize(x, n, {p.scale, p.zero_point, spec.qmin(), spec.qmax()}, out);
  return p;
}

}  // namespace thimble::quant
