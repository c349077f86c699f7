// Normalization by neighbouring channels.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Options of local_response_norm(), PyTorch's.
struct THIMBLE_API LocalResponseNormOptions {
  double alpha = 1e-4, beta = 0.75, k = 1;
};

/// x / (k + alpha / size * s)^beta, where s is the sum of squares over `size` channels, of which size / 2 come before
/// (Krizhevsky et al. 2012), as in PyTorch. x [n, channels, ...]. Throws ShapeError for fewer than two dimensions,
/// ValueError for a size below 1.
THIMBLE_API Tensor local_response_norm(const Tensor& x, int64_t size, const LocalResponseNormOptions& options = {});

}  // namespace thimble
