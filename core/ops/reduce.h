// Reductions over axes, or one: sum(x, 1) is sum(x, {1}). An empty list of axes means all of them; negative axes count
// from the end; keepdim leaves reduced dimensions as size 1. x is float32 or float64; sum, mean, prod, max and min also
// take integers, and stay in their dtype: sums and products modulo 2^bits, means truncated. Throw ShapeError for an
// axis out of range or given twice.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

THIMBLE_API Tensor sum(const Tensor& x, const Shape& axes = {}, bool keepdim = false);
/// NaN where nothing is reduced over, as in PyTorch.
THIMBLE_API Tensor mean(const Tensor& x, const Shape& axes = {}, bool keepdim = false);
/// 1 where nothing is reduced over.
THIMBLE_API Tensor prod(const Tensor& x, const Shape& axes = {}, bool keepdim = false);
/// Elements that tie for the extremum share the gradient evenly. Throw ShapeError when reducing over size 0.
THIMBLE_API Tensor max(const Tensor& x, const Shape& axes = {}, bool keepdim = false);
THIMBLE_API Tensor min(const Tensor& x, const Shape& axes = {}, bool keepdim = false);
/// Sum of squared differences from the mean over (n - correction).
THIMBLE_API Tensor var(const Tensor& x, const Shape& axes = {}, bool keepdim = false, int64_t correction = 1);
/// log(sum(exp(x))), computed without overflow.
THIMBLE_API Tensor logsumexp(const Tensor& x, const Shape& axes = {}, bool keepdim = false);
template <AxisNumber I>
Tensor sum(const Tensor& x, I axis, bool keepdim = false) {
  return sum(x, Shape{axis}, keepdim);
}
template <AxisNumber I>
Tensor mean(const Tensor& x, I axis, bool keepdim = false) {
  return mean(x, Shape{axis}, keepdim);
}
template <AxisNumber I>
Tensor prod(const Tensor& x, I axis, bool keepdim = false) {
  return prod(x, Shape{axis}, keepdim);
}
template <AxisNumber I>
Tensor max(const Tensor& x, I axis, bool keepdim = false) {
  return max(x, Shape{axis}, keepdim);
}
template <AxisNumber I>
Tensor min(const Tensor& x, I axis, bool keepdim = false) {
  return min(x, Shape{axis}, keepdim);
}
template <AxisNumber I>
Tensor logsumexp(const Tensor& x, I axis, bool keepdim = false) {
  return logsumexp(x, Shape{axis}, keepdim);
}
THIMBLE_API Tensor softmax(const Tensor& x, int64_t axis = -1);
THIMBLE_API Tensor log_softmax(const Tensor& x, int64_t axis = -1);

/// Index (int64) of the first largest element along axis, outside of the graph; any numeric dtype. NaN is largest.
THIMBLE_API NDArray argmax(const NDArray& x, int64_t axis = -1);
/// The same as ops, of the smallest element, too, and of the last one of several, if so told.
THIMBLE_API Tensor argmax(const Tensor& x, int64_t axis, bool keepdim = false, bool select_last_index = false);
THIMBLE_API Tensor argmin(const Tensor& x, int64_t axis, bool keepdim = false, bool select_last_index = false);

/// The inverse of broadcasting, for gradients: sums x over the axes along which `shape` was broadcast to x's shape. The
/// first of these axes, if it is x's first, is taken for a batch: its sums are those of eight shards, added as a binary
/// tree, as all gradients of parameters are.
THIMBLE_API Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace thimble
