// The sizes of a two-dimensional convolution.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Padding on the bottom and right follows from the output's size.
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

/// Where the taps that remain after trim_taps() begin in the kernel.
struct FirstTap {
  int64_t row = 0, column = 0;
};

/// Takes away rows and columns of the kernel that see nothing but padding, wherever it stands (a 3x3 kernel on a 1x1
/// image has eight such taps). One tap at least remains.
FirstTap trim_taps(Conv2dGeometry& g);

/// Rows and columns exchanged.
Conv2dGeometry transposed_geometry(const Conv2dGeometry& g);

/// The convolution that computes the gradient of g's input from that of its output, with the kernel's taps in reverse
/// order and its channels in and out exchanged. For strides of 1.
Conv2dGeometry input_gradient_geometry(const Conv2dGeometry& g);

}  // namespace thimble::kernels
