// The arithmetic of quantization: q = clamp(round(x / scale) + zero_point, qmin, qmax), x' = scale * (q - zero_point),
// rounding half to even.
//
//   quant::QParams p = quant::choose_qparams(w);     // 8 bits, affine, unsigned, per tensor
//   NDArray q = quant::quantize(w, p);               // uint8
//   NDArray y = quant::dequantize(q, p);             // float32, |w - y| <= scale / 2
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/core/ndarray.h>

namespace thimble::quant {

enum class QScheme {
  affine,     ///< [min, max], widened to hold 0, is mapped to all of [qmin, qmax]
  symmetric,  ///< [-max|x|, max|x|]; the zero point is the middle of the range (0 if signed)
};
enum class ZeroPointRounding {
  nearest,   ///< half to even
  truncate,  ///< of -min / scale toward zero, the convention of some courses
};

/// What dynamic quantization takes a range of at each call.
enum class DynamicRange {
  row,   ///< each row of the last axis (linear) or each sample (convolution): samples do not depend on each other
  call,  ///< all of the input, as torch.ao's dynamic layers and ONNX's DynamicQuantizeLinear
};

THIMBLE_API std::string_view name(QScheme scheme);
/// Throws ValueError for an unknown name.
THIMBLE_API QScheme qscheme_from_name(std::string_view name);
THIMBLE_API std::string_view name(DynamicRange range);
/// Throws ValueError for an unknown name.
THIMBLE_API DynamicRange dynamic_range_from_name(std::string_view name);

/// How values shall be quantized. Throws nothing by itself; choose_qparams checks it.
struct THIMBLE_API QuantizationSpec {
  int bits = 8;  ///< 2 to 8
  bool is_signed = false;
  QScheme scheme = QScheme::affine;
  /// Own parameters for each index along this axis; none: one pair for the whole tensor.
  std::optional<int> axis = std::nullopt;
  /// With axis 0: own parameters for each so many consecutive elements of a channel, too; the last group of a channel
  /// may have fewer. 0: no groups.
  int64_t group_size = 0;
  ZeroPointRounding zero_point_rounding = ZeroPointRounding::nearest;
  /// Uses the integers of one bit less, as torch's observers can, for kernels whose sums of products may overflow.
  /// Needs 3 bits.
  bool reduce_range = false;

  /// The integers used: 2^bits of them, but one fewer for a symmetric scheme, so that the range is symmetric too.
  int32_t qmin() const;
  int32_t qmax() const;
  /// uint8 or int8: values of fewer bits lie in bytes.
  DType dtype() const { return is_signed ? DType::int8 : DType::uint8; }

  /// Signed symmetric weights per output channel (axis 0).
  static QuantizationSpec per_channel_weight(int bits = 8);
  /// Unsigned affine activations per tensor.
  static QuantizationSpec activation(int bits = 8);

  Attributes to_attributes() const;
  /// Throws FormatError.
  static QuantizationSpec from_attributes(const Attributes& attributes);

  friend bool operator==(const QuantizationSpec&, const QuantizationSpec&) = default;
};

/// How many groups of at most `group_size` elements there are in `elements`; of size 0, one for all.
THIMBLE_API int64_t group_count(int64_t elements, int64_t group_size);

/// Throws ValueError, beginning with `what`, unless bits is between 2 and 8.
THIMBLE_API void check_bits(int64_t bits, std::string_view what);

/// Scales and zero points: one of each, or one for each index along spec.axis, or for each group: those of channel 0
/// first.
struct THIMBLE_API QParams {
  QuantizationSpec spec;
  std::vector<float> scale;
  std::vector<int32_t> zero_point;
};

/// Parameters for values in [min, max]. A range that is the point 0 gets scale 1; scales too small for float32 are
/// raised to the smallest normal number. Throws ValueError if a bound is not finite, min > max, or bits is not in [2,
/// 8] or too small for reduce_range.
THIMBLE_API QParams choose_qparams(float min, float max, const QuantizationSpec& spec = {});
/// The same for each of several ranges (per channel).
THIMBLE_API QParams choose_qparams(const std::vector<float>& min, const std::vector<float>& max,
                                   const QuantizationSpec& spec);
/// Parameters for the values of x (float32), from its smallest and largest, per tensor or per channel. Throws
/// ValueError for an empty array or values that are not finite.
THIMBLE_API QParams choose_qparams(const NDArray& x, const QuantizationSpec& spec = {});

/// What choose_qparams() makes of one range, without memory of its own. The range must hold 0 and be finite; nothing is
/// checked. `scale` may be coarser than the one for the range.
THIMBLE_API float choose_scale(float low, float high, const QuantizationSpec& spec);
THIMBLE_API int32_t choose_zero_point(float low, float scale, const QuantizationSpec& spec);

/// x (float32) as int8 or uint8. Throws ShapeError if the parameters are per channel and their number is not x's size
/// along the axis, ValueError for a scale that is not positive and finite or a zero point out of range. NaN becomes
/// qmin.
THIMBLE_API NDArray quantize(const NDArray& x, const QParams& qparams);
/// q as float32. Throws DTypeError if q's dtype is not the parameters', and as quantize().
THIMBLE_API NDArray dequantize(const NDArray& q, const QParams& qparams);

/// Smallest and largest values of x (float32), for each part of it that has parameters of its own (QuantizationSpec's
/// axis and group_size). Throws ValueError, beginning with `what`, for values that are not finite or an empty x.
struct THIMBLE_API Range {
  std::vector<float> min, max;
};
THIMBLE_API Range min_max(const NDArray& x, const QuantizationSpec& spec, std::string_view what = "quantization");

}  // namespace thimble::quant
