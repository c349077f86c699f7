// Ops that move or select elements. Those that can be views of x's memory are.
//
// Any dtype in the forward direction; gradients exist where the dtype is differentiable. Negative axes count from the
// end. Throw ShapeError for an axis out of range and for shapes that do not fit.
#pragma once

#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// One size may be -1.
THIMBLE_API Tensor reshape(const Tensor& x, const Shape& shape);
/// Its sizes, int64 [ndim]: as an op, which tracing records, where x.shape() would be a constant.
THIMBLE_API Tensor shape_of(const Tensor& x);
THIMBLE_API Tensor transpose(const Tensor& x, int64_t axis0, int64_t axis1);
/// axes[i] is the dimension of x that becomes dimension i.
THIMBLE_API Tensor permute(const Tensor& x, const Shape& axes);
/// x[start:stop:step] along axis, as in NumPy: bounds are clipped. step may be negative; throws ValueError for 0.
THIMBLE_API Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t stop, int64_t step = 1);
/// Tensors of one dtype and of one shape but for axis; throws DTypeError if dtypes differ.
THIMBLE_API Tensor concat(const std::vector<Tensor>& tensors, int64_t axis = 0);
/// PyTorch's name for it.
inline Tensor cat(const std::vector<Tensor>& tensors, int64_t axis = 0) { return concat(tensors, axis); }
/// Along a new axis; all of one dtype and shape.
THIMBLE_API Tensor stack(const std::vector<Tensor>& tensors, int64_t axis = 0);
/// The slice at an index along axis, without that axis; negative indices count from the end. Throws ShapeError for an
/// index that is not there.
THIMBLE_API Tensor select(const Tensor& x, int64_t axis, int64_t index);
/// `length` elements along axis from start on, which may count from the end. Throws ShapeError for those not there.
THIMBLE_API Tensor narrow(const Tensor& x, int64_t axis, int64_t start, int64_t length);
/// Parts of split_size elements along axis, the last one smaller. Throws ValueError for a size below 1.
THIMBLE_API std::vector<Tensor> split(const Tensor& x, int64_t split_size, int64_t axis = 0);
/// Parts of these sizes. Throws ShapeError if they do not add up to axis' size.
THIMBLE_API std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& split_sizes, int64_t axis = 0);
/// The slices at all indices along axis, without that axis.
THIMBLE_API std::vector<Tensor> unbind(const Tensor& x, int64_t axis = 0);
/// In reverse along these axes.
THIMBLE_API Tensor flip(const Tensor& x, const Shape& axes);
/// With an axis moved to another place, the others in their order.
THIMBLE_API Tensor movedim(const Tensor& x, int64_t source, int64_t destination);
/// As NumPy broadcasts; -1 keeps x's size of that dimension, as in PyTorch's expand.
THIMBLE_API Tensor broadcast_to(const Tensor& x, const Shape& shape);
/// Removes axis, which must have size 1.
THIMBLE_API Tensor squeeze(const Tensor& x, int64_t axis);
/// Removes every axis of size 1.
THIMBLE_API Tensor squeeze(const Tensor& x);
/// Inserts an axis of size 1, which becomes dimension `axis` of the result.
THIMBLE_API Tensor unsqueeze(const Tensor& x, int64_t axis);
/// Merges dimensions start_dim to end_dim, both included. A scalar becomes [1].
THIMBLE_API Tensor flatten(const Tensor& x, int64_t start_dim = 0, int64_t end_dim = -1);
/// The inverse: the dimension `axis` becomes several, of which one size may be -1, as PyTorch's unflatten. A graph that
/// was traced with it takes any sizes of the dimensions before.
THIMBLE_API Tensor unflatten(const Tensor& x, int64_t axis, const Shape& sizes);
/// What is put around: a constant, or the element at the edge repeated, or elements mirrored at it, which itself is not
/// repeated, or those of the other end. PyTorch's names.
enum class PadMode { constant, reflect, replicate, circular };

/// padding is {before, after} of the last axis, then of the one before it, as in PyTorch; negative numbers cut off,
/// before anything is put around. The value is for the mode constant, of any dtype. Throws ShapeError for more padding
/// than x has axes, and for a mode that has nothing to repeat.
THIMBLE_API Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, double value = 0);
THIMBLE_API Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, PadMode mode);

}  // namespace thimble
