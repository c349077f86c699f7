// What is done along an axis: sorting out the largest, running sums. Negative axes count from the end; throw ShapeError
// for an axis that is not there.
#pragma once

#include <utility>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// The k largest elements along an axis, of any dtype, the largest first, or the smallest, and their indices (int64),
/// through which no gradient flows. Of equal elements the first comes first; NaN counts as largest. Throws ValueError
/// for a k below 0 or above the axis' size.
THIMBLE_API std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t axis = -1, bool largest = true);

/// All elements along an axis from the smallest to the largest, or descending, and their indices: those of topk().
THIMBLE_API std::pair<Tensor, Tensor> sort(const Tensor& x, int64_t axis = -1, bool descending = false);
/// The indices alone.
THIMBLE_API Tensor argsort(const Tensor& x, int64_t axis = -1, bool descending = false);

/// Running sums along an axis, of floats or integers. ONNX's options: without the element itself (exclusive), and from
/// the end (reverse).
THIMBLE_API Tensor cumsum(const Tensor& x, int64_t axis, bool exclusive = false, bool reverse = false);

/// 1 for the first largest element along an axis, else 0, in x's dtype; the gradient is 0.
THIMBLE_API Tensor hardmax(const Tensor& x, int64_t axis = -1);

}  // namespace thimble
