// Dropout (Srivastava et al. 2014), inverted: what is kept is scaled by 1 / (1 - p).
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/random.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Sets each element to 0 with probability p in [0, 1], if training; the identity otherwise. Throws ValueError for p
/// outside [0, 1].
THIMBLE_API Tensor dropout(const Tensor& x, double p = 0.5, bool training = true,
                           Generator& generator = default_generator());

}  // namespace thimble
