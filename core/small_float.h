// Floats of 8 and 4 bits, as ONNX's files have them. They are no dtypes: their values are kept and computed in float32.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <thimble/core/api.h>

namespace thimble {

/// Named by exponent and mantissa bits. "fn" has no infinity; "uz" has no negative zero either, and its NaN in place of
/// it. Arithmetic: Micikevicius et al., "FP8 formats for deep learning" (2022); Noune et al. (2022) for "uz".
enum class SmallFloat : uint8_t { float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz, float4e2m1 };

/// By the name that the enumeration has; none for others.
THIMBLE_API std::optional<SmallFloat> small_float_from_name(std::string_view name);

/// The value of these bits, of which those beyond the format's count nothing.
THIMBLE_API float small_float_value(uint8_t bits, SmallFloat format);

/// The format's nearest value, half to even. What is larger than its largest becomes that if it saturates, else
/// infinity, or NaN where the format has no infinity. (4 bits always saturate, and have no NaN: that becomes the
/// largest.)
THIMBLE_API float round_to_small_float(float x, SmallFloat format, bool saturate = true);

}  // namespace thimble
