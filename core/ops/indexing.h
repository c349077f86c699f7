// Selecting by an array of indices (int64 or int32). An index out of range throws ValueError that names it.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// out[i][j][k] = x[index[i][j][k]][j][k] for axis 0, as PyTorch's gather. index has x's number of dimensions, and is
/// no larger than x along the others.
THIMBLE_API Tensor gather(const Tensor& x, int64_t axis, const Tensor& index);
/// Slices of x along axis, one for each entry of the 1-d index.
THIMBLE_API Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index);
/// Rows of weight [num_embeddings, dim] for an index of any shape: [index shape..., dim].
THIMBLE_API Tensor embedding(const Tensor& index, const Tensor& weight);

}  // namespace thimble
