// The loops of optimizer.h. Included by one source for each instruction set, in which it is compiled for that.
#pragma once

#include <thimble/core/kernels/training/optimizer.h>

namespace thimble::kernels {

namespace {

void adam_loop(const AdamStep& s, const float* __restrict grad, float* __restrict param, float* __restrict m,
               float* __restrict v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float p = param[i] * s.decay;
    const float g = grad[i] + s.l2 * p;
    m[i] = s.beta1 * m[i] + s.one_minus_beta1 * g;
    v[i] = s.beta2 * v[i] + s.one_minus_beta2 * g * g;
    param[i] = p - s.step_size * m[i] / (__builtin_sqrtf(v[i]) * s.root_correction + s.eps);
  }
}

void sgd_loop(const SgdStep& s, const float* __restrict grad, float* __restrict param, float* __restrict velocity,
              int64_t n) {
  if (!velocity) {
    for (int64_t i = 0; i < n; ++i) param[i] -= s.lr * (grad[i] + s.l2 * param[i]);
    return;
  }
  const float keep = s.first ? 0.0f : s.momentum, take = s.first ? 1.0f : 1.0f - s.dampening;
  const float from_grad = s.nesterov ? 1.0f : 0.0f, from_velocity = s.nesterov ? s.momentum : 1.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i] + s.l2 * param[i];
    velocity[i] = keep * velocity[i] + take * g;
    param[i] -= s.lr * (from_grad * g + from_velocity * velocity[i]);
  }
}

constexpr OptimizerTable kTable{adam_loop, sgd_loop};

}  // namespace

}  // namespace thimble::kernels
