// Two-dimensional convolution and its gradients, over channels-last data: images [batch, height, width, channels].
//
// Each is a matrix product of weights and "columns": a row of columns is what one output pixel sees, [kernel_height,
// kernel_width, channels of the group]. The products read columns where they lie in the image (implicit GEMM, see
// conv_frames.h); only the input gradient of strided convolutions makes them, a few pixels at a time.
#pragma once

#include <thimble/core/kernels/gemm/epilogue.h>
#include <thimble/core/kernels/image/conv_frames.h>

namespace thimble::kernels {

/// How conv2d() is to read the images of a convolution, made once for several calls.
ConvFrames forward_frames(const Conv2dGeometry& g);

/// y [batch, out_height, out_width, out_channels] = x * weight, and then the epilogue. weight is that of
/// pack_conv2d_weight(); depthwise, here and in gradients, [taps(), out_channels]. The bits of an output depend neither
/// on the batch nor on the number of threads.
template <typename T>
void conv2d(const ConvFrames& frames, const T* x, const T* weight, T* y, const Epilogue<T>& epilogue = {});

/// dx, the gradient of x, from dy. With strides of 1 conv2d() of input_gradient_geometry() is faster. weight is
/// [groups, group_out(), columns()].
template <typename T>
void conv2d_input_gradient(const Conv2dGeometry& g, const T* dy, const T* weight, T* dx);

/// dweight [groups, columns(), group_out()] from x and dy.
template <typename T>
void conv2d_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight);

}  // namespace thimble::kernels
