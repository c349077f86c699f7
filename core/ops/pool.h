// Pooling of images [n, channels, h, w], PyTorch's names and conventions. Results lie channels-last, as those of
// conv2d.
//
//   Tensor y = max_pool2d(x, 2);                                // halves height and width
//   Tensor z = max_pool2d(x, 3, {.stride = 2, .padding = 1});
//
// float32 and float64; quantized images (uint8), too: their maxima, and means rounded half to even, of windows that
// count no padding (DTypeError otherwise).
//
// All throw ShapeError for an input that is not of four dimensions, an empty batch and a kernel larger than the padded
// input; ValueError for kernels, strides or dilations below 1 and padding that is negative or more than half of the
// kernel.
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/core/ops/pair.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Options of max_pool2d().
struct THIMBLE_API MaxPool2dOptions {
  std::optional<Pair> stride = {};  ///< the kernel's size if it is not given
  Pair padding = 0;                 ///< with -infinity, on both sides
  Pair dilation = 1;
  bool ceil_mode = false;  ///< windows may hang over the end of the padded input, as long as they start inside
};

/// The largest element of each window; h' = (h + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1. NaN in a
/// window makes the result NaN. The gradient goes to the first of several that are largest.
THIMBLE_API Tensor max_pool2d(const Tensor& x, Pair kernel, const MaxPool2dOptions& options = {});

/// Options of avg_pool2d().
struct THIMBLE_API AvgPool2dOptions {
  std::optional<Pair> stride = {};  ///< the kernel's size if it is not given
  Pair padding = 0;                 ///< with zeros, on both sides
  bool ceil_mode = false;
  bool count_include_pad = true;  ///< whether the padding's zeros count as elements
};

/// The mean of each window.
THIMBLE_API Tensor avg_pool2d(const Tensor& x, Pair kernel, const AvgPool2dOptions& options = {});

/// Means over as many windows as make an output of this size: window i of n covers [floor(i h / n), ceil((i + 1) h /
/// n)).
THIMBLE_API Tensor adaptive_avg_pool2d(const Tensor& x, Pair output_size);

/// The mean of each channel of each image: [n, c, h, w] -> [n, c, 1, 1].
inline Tensor global_avg_pool2d(const Tensor& x) { return adaptive_avg_pool2d(x, 1); }

}  // namespace thimble
