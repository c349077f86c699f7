// Padding for windows that shall be as many as ceil(size / stride).
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/pair.h>
#include <thimble/core/ops/triple.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Options of pad_same2d().
struct THIMBLE_API PadSame2dOptions {
  Pair stride = 1, dilation = 1;
  bool upper = true;  ///< an odd pixel of padding is behind the image, else before it
  double value = 0;   ///< of the padding
};

/// Zeros, or another value, around images [n, c, h, w], as many as a convolution of this kernel needs for ceil(h /
/// stride) rows and ceil(w / stride) columns: what TensorFlow calls SAME. Throws ShapeError for an input that is not of
/// four dimensions or empty, ValueError for sizes below 1.
THIMBLE_API Tensor pad_same2d(const Tensor& x, Pair kernel, const PadSame2dOptions& options = {});

/// Options of pad_same3d().
struct THIMBLE_API PadSame3dOptions {
  Triple stride = 1, dilation = 1;
  bool upper = true;  ///< an odd plane, row or column of padding is behind the volume, else before it
  double value = 0;   ///< of the padding
};

/// The same around volumes [n, c, d, h, w].
THIMBLE_API Tensor pad_same3d(const Tensor& x, Triple kernel, const PadSame3dOptions& options = {});

}  // namespace thimble
