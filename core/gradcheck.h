// Checks gradients against central differences.
#pragma once

#include <functional>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// How gradcheck() takes differences, and what it allows.
struct THIMBLE_API GradcheckOptions {
  double step = 1e-6;      ///< half the distance of the two points of a difference
  double absolute = 1e-5;  ///< allowed: absolute + relative * |numerical|
  double relative = 1e-3;
};

/// Compares the gradient of f at the given float64 inputs, for a random weighting of f's output, with central
/// differences. f must be a deterministic function of its inputs. Throws ValueError that names the first input and
/// element that differ, DTypeError for inputs that are not float64.
THIMBLE_API void gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f,
                           const std::vector<NDArray>& inputs, const GradcheckOptions& options = {});

/// The same for the gradient's gradient: f's gradient must itself be made of differentiable ops.
THIMBLE_API void gradgradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f,
                               const std::vector<NDArray>& inputs, const GradcheckOptions& options = {});

}  // namespace thimble
