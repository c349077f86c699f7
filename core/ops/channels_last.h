// Images in memory channels-last (NHWC), which is how kernels of convolution, pooling and normalization want them: what
// an op does per pixel runs over dense channels. Outside they are arrays in NCHW order with such strides. Internal.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble {

/// [n, c, h, w] as a dense [n, h, w, c]: a view if it lies so already, else a copy. Also for fewer or more dimensions
/// behind the channels, and classes instead of channels.
inline NDArray to_channels_last(const NDArray& x) {
  Shape axes{0};
  for (int d = 2; d < x.ndim(); ++d) axes.push_back(d);
  axes.push_back(1);
  return x.permute(axes).contiguous();
}

/// The reverse, always a view.
inline NDArray from_channels_last(const NDArray& x) {
  Shape axes{0, x.ndim() - 1};
  for (int d = 1; d + 1 < x.ndim(); ++d) axes.push_back(d);
  return x.permute(axes);
}

/// A dense [n, h, w, c] for a result of shape [n, c, h, w].
inline NDArray channels_last_array(const Shape& nchw, DType dtype) {
  return NDArray({nchw[0], nchw[2], nchw[3], nchw[1]}, dtype);
}

}  // namespace thimble
