// How outputs along one axis are made of inputs along it. Internal.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <thimble/core/attributes.h>
#include <thimble/core/ops/interpolate.h>

namespace thimble {

/// A sparse matrix, a row for each output: entries starts[i] to starts[i + 1] are row i's.
struct Resampling {
  int64_t in = 0;
  std::vector<int64_t> starts{0}, index{};
  std::vector<double> weight{};
  std::vector<double> offset{};  ///< added to each output; empty for none

  int64_t out() const { return static_cast<int64_t>(starts.size()) - 1; }
  void add(int64_t i, double w) {
    index.push_back(i);
    weight.push_back(w);
  }
  void end_row() { starts.push_back(static_cast<int64_t>(index.size())); }
  bool is_identity() const;
  /// Without the offsets.
  Resampling transposed() const;
};

/// An axis of `in` elements that becomes one of `out`. [roi_start, roi_end] are shares of in - 1.
struct ResampledAxis {
  int64_t in, out;
  double scale, roi_start = 0, roi_end = 1;
};

/// An axis of x, and what becomes of it.
struct AxisToResample {
  int axis;
  ResampledAxis sizes;
};

/// Those of interpolate(), in the order in which it goes through them. Throws as it does.
std::vector<AxisToResample> axes_to_resample(const Shape& x, const InterpolateOptions& options);

/// The options of an "interpolate" op.
InterpolateOptions interpolate_options(const Attributes& attributes);

/// Whether each output is a mean of inputs, whatever the sizes: in the range of integers if they are. Beyond the edges
/// "tf_crop_and_resize" has a number, and where those are excluded there may be none.
bool averages_inputs(const InterpolateOptions& options);

/// Of "linear" or "cubic". Throws ValueError for unknown names.
Resampling resampling(const ResampledAxis& axis, const InterpolateOptions& options);

/// Of "nearest": the input for each output, int64 [out].
std::vector<int64_t> nearest_inputs(const ResampledAxis& axis, const InterpolateOptions& options);

/// What the matrix makes of x along axis. Differentiable. float32 or float64.
Tensor resample(const Tensor& x, int axis, std::shared_ptr<const Resampling> matrix);

}  // namespace thimble
