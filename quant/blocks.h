// How the parameters of quantization are spread over an array. Internal to quant.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include <thimble/core/error.h>
#include <thimble/core/shape.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// A contiguous array seen as [outer, channels, inner], with parameters of its own for each channel: around the axis;
/// per tensor as [1, 1, n]; in groups as [1, groups in all, elements of a group], where the last group of each channel
/// of the array may be smaller.
struct Blocks {
  int64_t outer = 1, channels = 1, inner = 1;

  /// Throws ShapeError for an axis that the shape does not have, ValueError for groups that are not of axis 0. Messages
  /// begin with `what`.
  Blocks(const Shape& shape, const QuantizationSpec& spec, std::string_view what) {
    const int at = spec.axis ? normalize_axis(*spec.axis, shape.ndim(), std::string(what).c_str()) : -1;
    for (int i = 0; i < shape.ndim(); ++i) (i == at ? channels : i < at ? outer : inner) *= shape[i];
    if (spec.group_size == 0) return;
    check<ValueError>(spec.group_size > 0 && at == 0, what, ": groups of ", spec.group_size,
                      " elements; groups are of at least 1 and need axis 0");
    const int64_t elements = inner;
    inner = std::min(spec.group_size, elements);
    groups_ = quant::group_count(elements, spec.group_size);
    last_ = elements - (groups_ - 1) * inner;
    channels *= groups_;
  }

  /// Of elements that lie one after the other and share parameters.
  int64_t rows() const { return outer * channels; }
  /// The channel of row i.
  size_t channel(int64_t row) const { return static_cast<size_t>(row % channels); }
  /// The elements of row i, and where they begin.
  int64_t size(int64_t row) const { return row % groups_ == groups_ - 1 && groups_ > 1 ? last_ : inner; }
  int64_t begin(int64_t row) const {
    return groups_ == 1 ? row * inner : row / groups_ * ((groups_ - 1) * inner + last_) + row % groups_ * inner;
  }
  /// Whether all rows have `inner` elements.
  bool is_even() const { return groups_ == 1 || last_ == inner; }

 private:
  int64_t groups_ = 1, last_ = 0;  // of each channel of the array
};

}  // namespace thimble::quant
