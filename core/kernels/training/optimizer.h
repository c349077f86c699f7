// The optimizers' updates: one pass over parameter, gradient and moments, which is what memory bandwidth allows.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Constants of one Adam step; step_size and root_correction hold the bias corrections.
struct AdamStep {
  float beta1, beta2;
  float one_minus_beta1, one_minus_beta2;  ///< from the exact betas: 1 - 0.999f is 1e-5 off
  float step_size;                         ///< lr / (1 - beta1^t)
  float root_correction;                   ///< 1 / sqrt(1 - beta2^t)
  float eps;
  float l2;     ///< added to the gradient, times the parameter (Adam's weight decay)
  float decay;  ///< the parameter is first multiplied by this (AdamW: 1 - lr * weight_decay; else 1)
};

/// m = beta1 m + (1-beta1) g;  v = beta2 v + (1-beta2) g^2;  p -= step_size m / (sqrt(v) root_correction + eps), over n
/// elements. Not threaded: the caller splits the work over all parameters.
void adam(const AdamStep& step, const float* grad, float* param, float* m, float* v, int64_t n);

struct SgdStep {
  float lr, momentum, dampening, l2;
  bool nesterov;
  bool first;  ///< the momentum buffer starts as the gradient, as in PyTorch
};

/// n elements; `velocity` is null without momentum.
void sgd(const SgdStep& step, const float* grad, float* param, float* velocity, int64_t n);

/// What each instruction set provides.
struct OptimizerTable {
  decltype(&adam) adam_loop;
  decltype(&sgd) sgd_loop;
};
extern const OptimizerTable optimizer_scalar, optimizer_avx2, optimizer_avx512;

}  // namespace thimble::kernels
