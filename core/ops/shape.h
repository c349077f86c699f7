// Ops that move or select elements. Those that can be views of x's memory are.
#pragma once

#include <vector>

#include <thimble/core/tensor.h>

namespace thimble {

/// One size may be -1.
Tensor reshape(const Tensor& x, const Shape& shape);
Tensor transpose(const Tensor& x, int64_t axis0, int64_t axis1);
Tensor permute(const Tensor& x, const Shape& axes);
/// x[start:stop:step] along axis, as in NumPy.
Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t stop, int64_t step = 1);
Tensor concat(const std::vector<Tensor>& tensors, int64_t axis = 0);
/// Along a new axis.
Tensor stack(const std::vector<Tensor>& tensors, int64_t axis = 0);
Tensor broadcast_to(const Tensor& x, const Shape& shape);
/// Removes axis, which must have size 1.
Tensor squeeze(const Tensor& x, int64_t axis);
Tensor unsqueeze(const Tensor& x, int64_t axis);
/// Merges dimensions start_dim to end_dim, both included.
Tensor flatten(const Tensor& x, int64_t start_dim = 0, int64_t end_dim = -1);
/// Pads with a constant. padding is {before, after} of the last axis, then of the one before it, as in PyTorch; not
/// negative.
Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, double value = 0);

}  // namespace thimble
