// Two-dimensional convolution and its gradients, over channels-last data: images [batch, height, width, channels].
//
// Each is a matrix product of weights and "columns": a row of columns is what one output pixel sees, [kernel_height,
// kernel_width, channels of the group]. Columns are made a few pixels at a time and stay in cache (implicit GEMM).
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// The sizes of a convolution. Padding on the bottom and right follows from the output's size.
struct Conv2dGeometry {
  int64_t batch;
  int64_t in_height, in_width, in_channels;
  int64_t out_height, out_width, out_channels;
  int64_t kernel_height, kernel_width;
  int64_t stride_height = 1, stride_width = 1;
  int64_t dilation_height = 1, dilation_width = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t groups = 1;

  int64_t group_in() const { return in_channels / groups; }
  int64_t group_out() const { return out_channels / groups; }
  int64_t taps() const { return kernel_height * kernel_width; }
  /// Elements that an output sees.
  int64_t columns() const { return taps() * group_in(); }
  int64_t out_pixels() const { return batch * out_height * out_width; }
  /// Each output channel has an input channel of its own.
  bool depthwise() const { return groups > 1 && group_in() == 1 && group_out() == 1; }
};

/// y [batch, out_height, out_width, out_channels] = x * weight + bias (unless null). weight is [groups, columns(),
/// group_out()]; for the three depthwise functions it is [taps(), out_channels].
template <typename T>
void conv2d(const Conv2dGeometry& g, const T* x, const T* weight, const T* bias, T* y);

/// dx, the gradient of x, from dy. weight is [groups, group_out(), columns()].
template <typename T>
void conv2d_input_gradient(const Conv2dGeometry& g, const T* dy, const T* weight, T* dx);

/// dweight [groups, columns(), group_out()] from x and dy.
template <typename T>
void conv2d_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight);

}  // namespace thimble::kernels
