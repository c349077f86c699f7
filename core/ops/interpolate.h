// Resampling along axes: PyTorch's interpolate with all that ONNX's Resize says.
//
//   Tensor y = interpolate(x, {.mode = "linear", .axes = {2, 3}, .scales = {2.0, 2.0}});
#pragma once

#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Options of interpolate(). PyTorch's "nearest" is mode "nearest", coordinates "asymmetric", rounding "floor";
/// "nearest-exact" is "half_pixel" and "round_prefer_ceil"; "bilinear" is "linear" and "pytorch_half_pixel", or
/// "align_corners".
struct THIMBLE_API InterpolateOptions {
  std::string mode = "nearest";    ///< "nearest", "linear", "cubic": separable, of any number of axes
  std::vector<int64_t> axes = {};  ///< empty: all
  // For each axis one of the two: an output of floor(size * scale), the product rounded to float32, or of these sizes.
  std::vector<double> scales = {};
  std::vector<int64_t> sizes = {};
  /// Where output i lies in the input: "half_pixel" (i + 0.5) / scale - 0.5; "pytorch_half_pixel" the same, 0 for an
  /// output of size 1; "align_corners" i * (in - 1) / (out - 1); "asymmetric" i / scale; "half_pixel_symmetric" around
  /// the input's middle where the output's size was rounded; "tf_half_pixel_for_nn" (i + 0.5) / scale;
  /// "tf_crop_and_resize" from roi's start to its end.
  std::string coordinates = "half_pixel";
  /// Of "nearest": "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"; "simple" is floor where the axis grows
  /// and ceil where it shrinks.
  std::string rounding = "round_prefer_floor";
  double cubic_a = -0.75;          ///< of the cubic's polynomials
  bool exclude_outside = false;    ///< weights beyond the edges become 0 and the others larger; else edges are repeated
  bool antialias = false;          ///< "linear" and "cubic" are wider where an axis shrinks
  std::vector<double> roi = {};    ///< starts of all axes, then ends, as shares of (in - 1)
  double extrapolation_value = 0;  ///< of "tf_crop_and_resize" beyond the edges
  /// What sizes mean: "stretch"; "not_larger" or "not_smaller" than they, with one scale for all axes.
  std::string aspect = "stretch";
};

/// x, float32 or float64 (any dtype for "nearest"; uint8, rounded half to even, for "linear" unless edges are excluded
/// or coordinates are "tf_crop_and_resize"), resampled. Throws DTypeError for others, ShapeError for axes and lists
/// that do not fit, ValueError for unknown names, and scales that are not above 0.
THIMBLE_API Tensor interpolate(const Tensor& x, const InterpolateOptions& options);

}  // namespace thimble
