// nll_loss whose classes have weights. Internal to core.
#pragma once

#include <memory>

#include <thimble/core/op.h>
#include <thimble/core/ops/loss.h>

namespace thimble {

/// Of log probabilities, targets and weights.
std::unique_ptr<Op> make_weighted_nll_loss(Reduction reduction, int64_t ignore_index);

}  // namespace thimble
