// Convolutions. Images are NCHW, weights OIHW, as in PyTorch and ONNX.
//
//   Tensor y = conv2d(x, weight, bias, {.stride = 2, .padding = 1});
//
// Results lie in memory channels-last, as views in NCHW order, and so do their gradients; inputs are taken as they
// come, fastest if they lie channels-last too. Nobody needs to know, except that contiguous() copies.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/pair.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Zeros around an image: one number for all sides, two for height and width, four for each side.
struct THIMBLE_API Padding {
  Padding(int64_t all) : Padding(all, all) {}
  Padding(int64_t height, int64_t width) : Padding(height, width, height, width) {}
  Padding(int64_t t, int64_t l, int64_t b, int64_t r) : top(t), left(l), bottom(b), right(r) {}
  friend bool operator==(const Padding&, const Padding&) = default;
  int64_t top, left, bottom, right;
};

/// Options of conv2d().
struct THIMBLE_API Conv2dOptions {
  Pair stride = 1;
  Padding padding = 0;
  Pair dilation = 1;
  int64_t groups = 1;

  /// As attributes of an op or layer: "stride", "padding", ...
  void to_attributes(Attributes& attributes) const;
  /// Throws FormatError.
  static Conv2dOptions from_attributes(const Attributes& attributes);
};

/// x [n, in, h, w], weight [out, in / groups, kernel height, kernel width], bias [out] or undefined -> [n, out, h',
/// w'], h' = (h + top + bottom - dilation * (kernel - 1) - 1) / stride + 1. Cross-correlation, as everywhere in deep
/// learning. Throws ShapeError for sizes that do not fit together, groups that do not divide the channels, a kernel
/// larger than the padded input or an empty batch; ValueError for strides or dilations below 1 or negative padding.
THIMBLE_API Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                          const Conv2dOptions& options = {});

/// Options of conv1d(); padding is on both sides.
struct THIMBLE_API Conv1dOptions {
  int64_t stride = 1;
  int64_t padding = 0;
  int64_t dilation = 1;
  int64_t groups = 1;
};

/// The same over one dimension: x [n, in, length], weight [out, in / groups, kernel].
THIMBLE_API Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                          const Conv1dOptions& options = {});

/// The transposed convolution, conv2d's gradient as a layer of its own: x [n, in, h, w], weight [in, out / groups,
/// kernel height, kernel width], bias [out] or undefined -> [n, out, h', w'], h' = (h - 1) * stride - top - bottom +
/// dilation * (kernel - 1) + output_padding + 1. output_padding is less than the stride or the dilation. Throws as
/// conv2d.
THIMBLE_API Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                                    const Conv2dOptions& options = {}, Pair output_padding = 0);

}  // namespace thimble
