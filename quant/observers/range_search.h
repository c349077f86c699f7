// Search for the range of values that quantizes best.
#pragma once

#include <functional>

#include <thimble/core/api.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// The range that integers stand for; what lies outside is clipped to it.
struct THIMBLE_API ClipRange {
  float low = 0, high = 0;
};

/// Where to look for it.
enum class RangeSearch {
  both_ends,  ///< each end by itself; the same as `together` for a symmetric scheme
  together,   ///< [min, max], widened to hold 0, times a factor
};

/// The part of [min, max], widened to hold 0, with the smallest loss(QParams for it), per tensor: steps of a hundredth
/// of the range, then of a thousandth around the best. The whole range unless another is strictly better; a loss that
/// is NaN is never better.
THIMBLE_API ClipRange search_range(ClipRange range, const QuantizationSpec& spec, RangeSearch search,
                                   const std::function<double(const QParams&)>& loss);

}  // namespace thimble::quant
