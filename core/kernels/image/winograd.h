// 3x3 convolutions with 16 multiplications for 4 outputs instead of 36 (Lavin and Gray 2016, F(2x2, 3x3)): sums and
// differences of 4x4 pixels times those of the weights.
//
// Weights take 16/9 of their memory. Rounding errors are about those of a plain sum: sums are shorter, and differences
// are of the size of the pixels. A value that is not finite makes all four outputs NaN.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/gemm/epilogue.h>
#include <thimble/core/kernels/image/conv2d_geometry.h>

namespace thimble::kernels {

/// Whether winograd_conv2d() can compute it, and that pays. Does not depend on the batch.
bool is_for_winograd(const Conv2dGeometry& g);

/// Floats of pack_winograd_weight().
int64_t winograd_weight_elements(const Conv2dGeometry& g);

/// packed becomes what winograd_conv2d() reads, from weight [out_channels, in_channels, 3, 3], times scale
/// [out_channels] unless that is null. Threaded.
void pack_winograd_weight(const Conv2dGeometry& g, const float* weight, const double* scale, float* packed);

/// y [batch, out_height, out_width, out_channels] = x * weight, and then the epilogue. Threaded; the bits of an output
/// depend neither on the batch nor on the number of threads.
void winograd_conv2d(const Conv2dGeometry& g, const float* x, const float* weight, float* y,
                     const Epilogue<float>& epilogue);

}  // namespace thimble::kernels
