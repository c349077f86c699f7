// Distances and angles between vectors, as siamese networks compare them.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// The p-norm of x1 - x2 + eps over the last dimension, as in PyTorch: a difference of 0 has a gradient. Both
/// broadcast; p is at least 1, and may be infinite. Throws ValueError for another.
THIMBLE_API Tensor pairwise_distance(const Tensor& x1, const Tensor& x2, double p = 2, double eps = 1e-6,
                                     bool keepdim = false);

/// The cosine of the angle between vectors along an axis, whose lengths count as eps at least. Both broadcast.
THIMBLE_API Tensor cosine_similarity(const Tensor& x1, const Tensor& x2, int64_t axis = 1, double eps = 1e-8);

}  // namespace thimble
