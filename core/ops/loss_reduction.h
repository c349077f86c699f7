// What losses share: their operands, and how one number per example becomes their result. Internal to core.
#pragma once

#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/loss.h>

namespace thimble {

/// What a loss made of ops computes with: float32 in place of bfloat16.
inline Tensor in_full_precision(const Tensor& x) { return x.dtype() == DType::bfloat16 ? cast(x, DType::float32) : x; }

/// Throws ShapeError or DTypeError, beginning with `op`, unless both (tensors or arrays) are of one shape and of one
/// dtype, float32 or float64.
template <typename Array>
void check_loss_operands(std::string_view op, const Array& input, const Array& target) {
  check<ShapeError>(input.shape() == target.shape(), op, ": input ", input.shape(), " and target ", target.shape(),
                    " differ");
  check<DTypeError>(is_differentiable(input.dtype()) && input.dtype() == target.dtype(), op,
                    ": expects input and target of one dtype, float32 or float64, got ", input.dtype(), " and ",
                    target.dtype());
}

/// The losses themselves, their mean or their sum; `losses` is contiguous, and `count` of them are what the mean is
/// over. The mean of none is NaN.
NDArray reduce_losses(const NDArray& losses, Reduction reduction, int64_t count);

/// The same of a tensor, as ops: the mean is over all losses.
Tensor reduce_losses(const Tensor& losses, Reduction reduction);

/// The gradient of each of the `count` losses, given that of the reduction: one number for all unless it is `none`.
Tensor gradient_of_losses(const Tensor& out_grad, Reduction reduction, int64_t count);

}  // namespace thimble
