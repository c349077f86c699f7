// What conv2d's ops and layers share: checked sizes, and weights in the order that the kernels want. Internal.
#pragma once

#include <thimble/core/kernels/image/conv2d_geometry.h>
#include <thimble/core/ops/conv.h>

namespace thimble {

/// Throws ValueError that begins with `op`.
void check_conv2d_options(const char* op, const Conv2dOptions& options);

/// Throws ShapeError that begins with `op` for a dimension beyond 2^31 - 1: with options that check_conv2d_options()
/// has seen, no size that follows then leaves int64.
void check_conv2d_sizes(const char* op, const Shape& image, const Shape& weight);

/// The sizes of a convolution of `image` [n, in, h, w] by `weight` [out, in / groups, kernel height, kernel width].
/// Throws as conv2d() does, beginning with `op`.
kernels::Conv2dGeometry conv2d_geometry(const char* op, const Shape& image, const Shape& weight,
                                        const Conv2dOptions& options);

/// A geometry without the taps that see nothing but padding.
struct TrimmedConv2d {
  kernels::Conv2dGeometry g;
  kernels::FirstTap first;

  explicit TrimmedConv2d(const kernels::Conv2dGeometry& full) : g(full), first(kernels::trim_taps(g)) {}

  /// The part of an OIHW array that the remaining taps are.
  NDArray of(const NDArray& weight) const;
};

/// An OIHW weight as [groups, out, in, height, width] with its axes in the order `axes`, dense.
NDArray grouped_weight(const NDArray& weight, int64_t groups, const Shape& axes);

/// An OIHW weight as kernels::conv2d wants it.
NDArray conv2d_forward_weight(const NDArray& weight, const kernels::Conv2dGeometry& g);

/// The same for the convolution of input_gradient_geometry(g), g's input gradient if its strides are 1.
NDArray conv2d_input_gradient_weight(const NDArray& weight, const kernels::Conv2dGeometry& g);

}  // namespace thimble
