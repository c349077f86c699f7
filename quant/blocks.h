// How the parameters of quantization are spread over an array. Internal to quant.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <thimble/core/error.h>
#include <thimble/core/shape.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// A contiguous array seen as [outer, channels, inner], with parameters of its own for each channel: around the axis;
/// per tensor as [1, 1, n]; in groups as [1, groups in all, elements of a group].
struct Blocks {
  int64_t outer = 1, channels = 1, inner = 1;

  /// Throws ShapeError for an axis that the shape does not have, ValueError for groups that do not divide the rest of
  /// the shape. Messages begin with `what`.
  Blocks(const Shape& shape, const QuantizationSpec& spec, std::string_view what) {
    const int at = spec.axis ? normalize_axis(*spec.axis, shape.ndim(), std::string(what).c_str()) : -1;
    for (int i = 0; i < shape.ndim(); ++i) (i == at ? channels : i < at ? outer : inner) *= shape[i];
    if (spec.group_size == 0) return;
    check<ValueError>(spec.group_size > 0 && at == 0, what, ": groups of ", spec.group_size,
                      " elements; groups are of at least 1 and need axis 0");
    check<ValueError>(inner % spec.group_size == 0, what, ": groups of ", spec.group_size, " do not divide the ", inner,
                      " elements of a channel of ", shape);
    channels *= inner / spec.group_size;
    inner = spec.group_size;
  }

  int64_t rows() const { return outer * channels; }
  /// The channel of row i of `inner` elements.
  size_t channel(int64_t row) const { return static_cast<size_t>(row % channels); }
};

}  // namespace thimble::quant
