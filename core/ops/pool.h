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
// input; ValueError for kernels, strides or dilations below 1 and padding that is negative or not less than the
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

/// Which element of each window max_pool2d() takes: int64, row * width + column within the image's plane, as PyTorch's
/// return_indices gives. Of several that are largest the first. float32, float64 and uint8.
THIMBLE_API Tensor max_pool2d_indices(const Tensor& x, Pair kernel, const MaxPool2dOptions& options = {});

/// The reverse of max_pool2d(): each element of x [n, c, h, w] where its index says in zeros of [n, c, output height,
/// output width]. Where an index is there twice, the later element stays. Throws ShapeError for sizes that differ,
/// ValueError for an index beyond the plane.
THIMBLE_API Tensor max_unpool2d(const Tensor& x, const Tensor& indices, Pair output_size);

/// Options of avg_pool2d().
struct THIMBLE_API AvgPool2dOptions {
  std::optional<Pair> stride = {};  ///< the kernel's size if it is not given
  Pair padding = 0;                 ///< with zeros, on both sides
  bool ceil_mode = false;
  bool count_include_pad = true;  ///< whether the padding's zeros count as elements
};

/// The mean of each window.
THIMBLE_API Tensor avg_pool2d(const Tensor& x, Pair kernel, const AvgPool2dOptions& options = {});

/// Options of lp_pool2d().
struct THIMBLE_API LpPool2dOptions {
  std::optional<Pair> stride = {};  ///< the kernel's size if it is not given
  bool ceil_mode = false;
};

/// The norm of each window, the sum of |x|^p to the power of 1 / p. Where that sum is 0 there is no gradient but for
/// p = 1: it is NaN or infinite, as in PyTorch.
THIMBLE_API Tensor lp_pool2d(const Tensor& x, double p, Pair kernel, const LpPool2dOptions& options = {});

/// Means over as many windows as make an output of this size: window i of n covers [floor(i h / n), ceil((i + 1) h /
/// n)).
THIMBLE_API Tensor adaptive_avg_pool2d(const Tensor& x, Pair output_size);

/// The mean of each channel of each image: [n, c, h, w] -> [n, c, 1, 1].
inline Tensor global_avg_pool2d(const Tensor& x) { return adaptive_avg_pool2d(x, 1); }

}  // namespace thimble
