// Gradients that are too large are cut between backward() and the optimizer's step.
//
//   loss.backward();
//   optim::clip_grad_norm(net.parameters(), 1.0);
//   adam.step();
#pragma once

#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble::optim {

/// Scales all gradients so that their joint norm is at most max_norm; returns the norm before. norm_type is 2, 1, any
/// other number from 1 on, or infinity (the largest magnitude). Throws ValueError for a max_norm that is not positive,
/// a norm_type below 1 or a norm that is not finite, DTypeError for parameters that are not float32.
THIMBLE_API double clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm, double norm_type = 2);

/// Brings each gradient's elements into [-clip_value, clip_value]. Throws ValueError for a clip_value that is not
/// positive or a gradient that is NaN, DTypeError for parameters that are not float32; no gradient is changed then.
THIMBLE_API void clip_grad_value(const std::vector<Tensor>& parameters, double clip_value);

}  // namespace thimble::optim
