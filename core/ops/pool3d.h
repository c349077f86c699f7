// Pooling of volumes [n, channels, d, h, w], PyTorch's names and conventions.
//
//   Tensor y = max_pool3d(x, {1, 2, 2});                          // halves height and width
//   Tensor z = avg_pool3d(x, 3, {.stride = 2, .padding = 1});
//
// Each pools the planes as images, then along the depth: maxima, means and sums of a window are those of the windows'
// parts. Between the two there is a volume of the input's depth and the result's height and width. Results lie depth
// first, then channels-last, as views in the usual order. They throw as the pools of core/ops/pool.h do.
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/core/ops/triple.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Options of max_pool3d().
struct THIMBLE_API MaxPool3dOptions {
  std::optional<Triple> stride = {};  ///< the kernel's size if it is not given
  Triple padding = 0;                 ///< with -infinity, on both sides
  Triple dilation = 1;
  bool ceil_mode = false;  ///< windows may hang over the end of the padded input, as long as they start inside
};

/// The largest element of each window. NaN in a window makes the result NaN. The gradient goes to the first of several
/// that are largest. float32, float64, bfloat16 and uint8.
THIMBLE_API Tensor max_pool3d(const Tensor& x, Triple kernel, const MaxPool3dOptions& options = {});

/// Which element of each window max_pool3d() takes: int64, (plane * height + row) * width + column within the channel's
/// volume, as PyTorch's return_indices gives. Of several that are largest the first.
THIMBLE_API Tensor max_pool3d_indices(const Tensor& x, Triple kernel, const MaxPool3dOptions& options = {});

/// Options of avg_pool3d().
struct THIMBLE_API AvgPool3dOptions {
  std::optional<Triple> stride = {};  ///< the kernel's size if it is not given
  Triple padding = 0;                 ///< with zeros, on both sides
  bool ceil_mode = false;
  bool count_include_pad = true;  ///< whether the padding's zeros count as elements
};

/// The mean of each window. float32, float64 and bfloat16.
THIMBLE_API Tensor avg_pool3d(const Tensor& x, Triple kernel, const AvgPool3dOptions& options = {});

/// Options of lp_pool3d().
struct THIMBLE_API LpPool3dOptions {
  std::optional<Triple> stride = {};  ///< the kernel's size if it is not given
  bool ceil_mode = false;
};

/// The norm of each window, the sum of |x|^p to the power of 1 / p; see lp_pool2d().
THIMBLE_API Tensor lp_pool3d(const Tensor& x, double p, Triple kernel, const LpPool3dOptions& options = {});

/// Means over as many windows as make an output of this size; see adaptive_avg_pool2d().
THIMBLE_API Tensor adaptive_avg_pool3d(const Tensor& x, Triple output_size);

/// The mean of each channel of each volume: [n, c, d, h, w] -> [n, c, 1, 1, 1].
inline Tensor global_avg_pool3d(const Tensor& x) { return adaptive_avg_pool3d(x, 1); }

}  // namespace thimble
