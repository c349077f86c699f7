// Ops that repeat, regroup or mask elements, and those that make arrays. Any dtype in the forward direction; gradients
// exist where the dtype is differentiable. Negative axes count from the end. Throw ShapeError for an axis out of range
// and for shapes that do not fit.
#pragma once

#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// x repeated along each dimension, as NumPy's tile of as many repeats as x has dimensions.
THIMBLE_API Tensor tile(const Tensor& x, const Shape& repeats);
/// x [n, c r^2, h, w] as [n, c, h r, w r] (Shi et al. 2016). With `depth_first`, TensorFlow's depth_to_space, the
/// channels of a pixel's neighbours lie c apart, not 1.
THIMBLE_API Tensor pixel_shuffle(const Tensor& x, int64_t upscale_factor, bool depth_first = false);
/// The inverse: x [n, c, h r, w r] as [n, c r^2, h, w].
THIMBLE_API Tensor pixel_unshuffle(const Tensor& x, int64_t downscale_factor, bool depth_first = false);
/// The upper triangles of the matrices in the last two dimensions, from that diagonal on; 0 below.
THIMBLE_API Tensor triu(const Tensor& x, int64_t diagonal = 0);
/// The lower triangles, up to that diagonal.
THIMBLE_API Tensor tril(const Tensor& x, int64_t diagonal = 0);
/// The main diagonal of dimensions axis0 and axis1 of one size, as the last dimension, as PyTorch's diagonal. A view.
THIMBLE_API Tensor diagonal(const Tensor& x, int64_t axis0 = 0, int64_t axis1 = 1);
/// Parts of ceil(size / chunks) along axis, the last one smaller, or empty. Views. Throws ValueError for no chunks.
THIMBLE_API std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t axis = 0);
/// The first lengths[i] elements along time_axis, of sample i of batch_axis, in reverse; the others stay. lengths
/// (int64) is [samples]. The two axes differ.
THIMBLE_API Tensor reverse_sequence(const Tensor& x, const Tensor& lengths, int64_t batch_axis, int64_t time_axis);

/// Constants of x's shape and dtype.
THIMBLE_API Tensor zeros_like(const Tensor& x);
THIMBLE_API Tensor ones_like(const Tensor& x);
THIMBLE_API Tensor full_like(const Tensor& x, double value);

/// 1 on a diagonal of a matrix of x's shape, which has 2 dimensions, else 0; the gradient is 0.
THIMBLE_API Tensor eye_like(const Tensor& x, int64_t diagonal, DType dtype);
/// start + i * step for i below ceil((limit - start) / step), of three numbers of one dtype; of floats computed in
/// double. No gradient. Throws ValueError for a step of 0, or of NaN and the like.
THIMBLE_API Tensor arange(const Tensor& start, const Tensor& limit, const Tensor& step);

}  // namespace thimble
