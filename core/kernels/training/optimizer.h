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
/// elements. With `largest` that is max(largest, v), which takes v's place (AMSGrad); null without. Not threaded: the
/// caller splits the work over all parameters.
void adam(const AdamStep& step, const float* grad, float* param, float* m, float* v, float* largest, int64_t n);

struct SgdStep {
  float lr, momentum, dampening, l2;
  bool nesterov;
  bool first;  ///< the momentum buffer starts as the gradient, as in PyTorch
};

/// n elements; `velocity` is null without momentum.
void sgd(const SgdStep& step, const float* grad, float* param, float* velocity, int64_t n);

struct RmspropStep {
  float lr, alpha, one_minus_alpha, eps, l2, momentum;
};

/// v = alpha v + (1-alpha) g^2;  b = momentum b + g / (sqrt(v) + eps);  p -= lr b, over n elements. `mean` is that of
/// the gradients, whose square is taken off v (centered), null without; `buffer` is b, null without momentum.
void rmsprop(const RmspropStep& step, const float* grad, float* param, float* v, float* mean, float* buffer, int64_t n);

struct AdagradStep {
  float lr, eps, l2;
};

/// sum += g^2;  p -= lr g / (sqrt(sum) + eps), over n elements.
void adagrad(const AdagradStep& step, const float* grad, float* param, float* sum, int64_t n);

struct NadamStep {
  float beta1, beta2, one_minus_beta1, one_minus_beta2;
  float grad_size, moment_size;  ///< what gradient and first moment are multiplied by
  float root_correction;         ///< 1 / sqrt(1 - beta2^t)
  float eps, l2;
};

/// m and v as Adam's;  p -= (grad_size g + moment_size m) / (sqrt(v) root_correction + eps), over n elements.
void nadam(const NadamStep& step, const float* grad, float* param, float* m, float* v, int64_t n);

struct LionStep {
  float lr, beta1, beta2, one_minus_beta1, one_minus_beta2;
  float decay;  ///< the parameter is first multiplied by this: 1 - lr * weight_decay
};

/// p -= lr sign(beta1 m + (1-beta1) g);  m = beta2 m + (1-beta2) g, over n elements.
void lion(const LionStep& step, const float* grad, float* param, float* m, int64_t n);

/// average = keep average + take x, over n elements.
void move_average(float keep, float take, const float* x, float* average, int64_t n);

/// What each instruction set provides.
struct OptimizerTable {
  decltype(&adam) adam_loop;
  decltype(&sgd) sgd_loop;
  decltype(&rmsprop) rmsprop_loop;
  decltype(&adagrad) adagrad_loop;
  decltype(&nadam) nadam_loop;
  decltype(&lion) lion_loop;
  decltype(&move_average) move_average_loop;
};
extern const OptimizerTable optimizer_scalar, optimizer_avx2, optimizer_avx512;

}  // namespace thimble::kernels
