// Images in memory channels-last (NHWC), which is how kernels of convolution, pooling and normalization want them: what
// an op does per pixel runs over dense channels. Outside they are arrays in NCHW order with such strides.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble {

/// [n, c, h, w] as a dense [n, h, w, c]: a view if it lies so already, else a copy.
inline NDArray to_channels_last(const NDArray& x) { return x.permute({0, 2, 3, 1}).contiguous(); }

/// The reverse, always a view.
inline NDArray from_channels_last(const NDArray& x) { return x.permute({0, 3, 1, 2}); }

/// A dense [n, h, w, c] for a result of shape [n, c, h, w].
inline NDArray channels_last_array(const Shape& nchw, DType dtype) {
  return NDArray({nchw[0], nchw[2], nchw[3], nchw[1]}, dtype);
}

}  // namespace thimble
