#include <utility>

#include <thimble/core/kernels/image/conv2d_geometry.h>

namespace thimble::kernels {

namespace {

// Along one axis; returns the first tap that remains.
int64_t trim(int64_t& taps, int64_t& pad, int64_t size, int64_t outs, int64_t stride, int64_t dilation) {
  auto reaches_input = [&](int64_t tap) {
    // Windows start at -pad, -pad + stride, ...: the first in which the tap is not before the input must not have it
    // behind the input.
    const int64_t at = tap * dilation - pad;
    const int64_t first = at >= 0 ? 0 : (-at + stride - 1) / stride;
    return first < outs && at + first * stride < size;
  };
  int64_t first = 0, last = taps - 1;
  while (first < last && !reaches_input(first)) ++first;
  while (last > first && !reaches_input(last)) --last;
  pad -= first * dilation;
  taps = last - first + 1;
  return first;
}

}  // namespace

FirstTap trim_taps(Conv2dGeometry& g) {
  return {trim(g.kernel_height, g.pad_top, g.in_height, g.out_height, g.stride_height, g.dilation_height),
          trim(g.kernel_width, g.pad_left, g.in_width, g.out_width, g.stride_width, g.dilation_width)};
}

Conv2dGeometry transposed_geometry(const Conv2dGeometry& g) {
  return {.batch = g.batch,
          .in_height = g.in_width,
          .in_width = g.in_height,
          .in_channels = g.in_channels,
          .out_height = g.out_width,
          .out_width = g.out_height,
          .out_channels = g.out_channels,
          .kernel_height = g.kernel_width,
          .kernel_width = g.kernel_height,
          .stride_height = g.stride_width,
          .stride_width = g.stride_height,
          .dilation_height = g.dilation_width,
          .dilation_width = g.dilation_height,
          .pad_top = g.pad_left,
          .pad_left = g.pad_top,
          .groups = g.groups};
}

Conv2dGeometry input_gradient_geometry(const Conv2dGeometry& g) {
  Conv2dGeometry gradient = g;
  std::swap(gradient.in_height, gradient.out_height);
  std::swap(gradient.in_width, gradient.out_width);
  std::swap(gradient.in_channels, gradient.out_channels);
  gradient.pad_top = (g.kernel_height - 1) * g.dilation_height - g.pad_top;
  gradient.pad_left = (g.kernel_width - 1) * g.dilation_width - g.pad_left;
  return gradient;
}

}  // namespace thimble::kernels
