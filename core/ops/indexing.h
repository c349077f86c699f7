// Selecting and writing by arrays of indices (int64 or int32). An index out of range throws ValueError that names it.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/embedding.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// out[i][j][k] = x[index[i][j][k]][j][k] for axis 0, as PyTorch's gather. index has x's number of dimensions, and is
/// no larger than x along the others. With `wrap` negative indices count from the end.
THIMBLE_API Tensor gather(const Tensor& x, int64_t axis, const Tensor& index, bool wrap = false);
/// Slices of x along axis, one for each entry of the 1-d index.
THIMBLE_API Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index);
/// The same for an index of any shape, whose dimensions take the place of x's axis, and whose negative entries count
/// from the end, as NumPy's take.
THIMBLE_API Tensor take(const Tensor& x, const Tensor& index, int64_t axis);

/// What becomes of an element that is written to by index.
enum class ScatterReduction { none, sum, prod, amax, amin };

/// x with out[index[i][j]][j] = updates[i][j] for axis 0, as PyTorch's scatter and scatter_reduce; negative indices
/// count from the end. index and updates have one shape, of x's number of dimensions, and are no larger than x along
/// the other axes. Where an element is written twice the last one counts; a reduction combines all with x's element.
/// Gradients of none and sum alone; others throw ValueError in backward().
THIMBLE_API Tensor scatter(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& updates,
                           ScatterReduction reduction = ScatterReduction::none);

/// ONNX's GatherND. The last dimension of index, of size n, holds coordinates of x's dimensions from batch_dims on; the
/// result is [index shape without the last..., x's shape from batch_dims + n on...]. The first batch_dims dimensions
/// are those of both. Negative coordinates count from the end.
THIMBLE_API Tensor gather_nd(const Tensor& x, const Tensor& index, int64_t batch_dims = 0);
/// ONNX's ScatterND: x with the slices that gather_nd(x, index) would read replaced by updates, or combined with them.
THIMBLE_API Tensor scatter_nd(const Tensor& x, const Tensor& index, const Tensor& updates,
                              ScatterReduction reduction = ScatterReduction::none, int64_t batch_dims = 0);

/// 1 (int64) where the new last dimension's coordinate, or that of the new dimension `axis`, is the index, else 0.
/// Negative indices count from the end; those out of range have no 1.
THIMBLE_API Tensor one_hot(const Tensor& index, int64_t num_classes, int64_t axis = -1);
/// The coordinates (int64) of the elements that are not 0, in row-major order: [how many, x's dimensions].
THIMBLE_API Tensor nonzero(const Tensor& x);

}  // namespace thimble
