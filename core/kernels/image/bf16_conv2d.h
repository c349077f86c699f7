// Convolution of bfloat16 images and its gradients, with sums of float32: see conv2d.h and gemm/bf16_gemm.h. Products
// of matrices whose rows, the windows of some output pixels, are copied together as they are needed. The bits depend on
// the sizes of an image alone, and weight gradients are summed in shards of the batch.
#pragma once

#include <thimble/core/bfloat16.h>
#include <thimble/core/kernels/image/conv2d_geometry.h>

namespace thimble::kernels {

/// y [batch, out_height, out_width, out_channels] = x * weight + bias; weight is [out_channels, columns()], bias may be
/// null.
void bf16_conv2d(const Conv2dGeometry& g, const bfloat16* x, const bfloat16* weight, const float* bias, bfloat16* y);

/// dx, the gradient of x, from dy. With strides of 1 bf16_conv2d() of input_gradient_geometry() is faster.
void bf16_conv2d_input_gradient(const Conv2dGeometry& g, const bfloat16* dy, const bfloat16* weight, bfloat16* dx);

/// dweight [out_channels, columns()] from x and dy.
void bf16_conv2d_weight_gradient(const Conv2dGeometry& g, const bfloat16* x, const bfloat16* dy, float* dweight);

}  // namespace thimble::kernels
