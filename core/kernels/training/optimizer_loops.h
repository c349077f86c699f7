// The loops of optimizer.h. Included by one source for each instruction set, in which it is compiled for that.
#pragma once

#include <thimble/core/kernels/training/optimizer.h>

namespace thimble::kernels {

namespace {

float larger(float a, float b) { return a > b ? a : b; }

template <bool kAmsgrad>
void adam_elements(const AdamStep& s, const float* __restrict grad, float* __restrict param, float* __restrict m,
                   float* __restrict v, [[maybe_unused]] float* __restrict largest, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float p = param[i] * s.decay;
    const float g = grad[i] + s.l2 * p;
    m[i] = s.beta1 * m[i] + s.one_minus_beta1 * g;
    v[i] = s.beta2 * v[i] + s.one_minus_beta2 * g * g;
    float square = v[i];
    if constexpr (kAmsgrad) square = largest[i] = larger(largest[i], v[i]);
    param[i] = p - s.step_size * m[i] / (__builtin_sqrtf(square) * s.root_correction + s.eps);
  }
}

void adam_loop(const AdamStep& s, const float* grad, float* param, float* m, float* v, float* largest, int64_t n) {
  largest ? adam_elements<true>(s, grad, param, m, v, largest, n)
          : adam_elements<false>(s, grad, param, m, v, nullptr, n);
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

template <bool kCentered, bool kMomentum>
void rmsprop_elements(const RmspropStep& s, const float* __restrict grad, float* __restrict param, float* __restrict v,
                      [[maybe_unused]] float* __restrict mean, [[maybe_unused]] float* __restrict buffer, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i] + s.l2 * param[i];
    v[i] = s.alpha * v[i] + s.one_minus_alpha * g * g;
    float variance = v[i];
    if constexpr (kCentered) {
      mean[i] = s.alpha * mean[i] + s.one_minus_alpha * g;
      variance = larger(v[i] - mean[i] * mean[i], 0);  // which rounding may take below
    }
    float direction = g / (__builtin_sqrtf(variance) + s.eps);
    if constexpr (kMomentum) direction = buffer[i] = s.momentum * buffer[i] + direction;
    param[i] -= s.lr * direction;
  }
}

void rmsprop_loop(const RmspropStep& s, const float* grad, float* param, float* v, float* mean, float* buffer,
                  int64_t n) {
  if (mean)
    buffer ? rmsprop_elements<true, true>(s, grad, param, v, mean, buffer, n)
           : rmsprop_elements<true, false>(s, grad, param, v, mean, nullptr, n);
  else
    buffer ? rmsprop_elements<false, true>(s, grad, param, v, nullptr, buffer, n)
           : rmsprop_elements<false, false>(s, grad, param, v, nullptr, nullptr, n);
}

void adagrad_loop(const AdagradStep& s, const float* __restrict grad, float* __restrict param, float* __restrict sum,
                  int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i] + s.l2 * param[i];
    sum[i] += g * g;
    param[i] -= s.lr * g / (__builtin_sqrtf(sum[i]) + s.eps);
  }
}

void nadam_loop(const NadamStep& s, const float* __restrict grad, float* __restrict param, float* __restrict m,
                float* __restrict v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i] + s.l2 * param[i];
    m[i] = s.beta1 * m[i] + s.one_minus_beta1 * g;
    v[i] = s.beta2 * v[i] + s.one_minus_beta2 * g * g;
    param[i] -= (s.grad_size * g + s.moment_size * m[i]) / (__builtin_sqrtf(v[i]) * s.root_correction + s.eps);
  }
}

void lion_loop(const LionStep& s, const float* __restrict grad, float* __restrict param, float* __restrict m,
               int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i], direction = s.beta1 * m[i] + s.one_minus_beta1 * g;
    // 0 stays, and so does NaN.
    const float step = direction > 0 ? s.lr : direction < 0 ? -s.lr : direction;
    param[i] = param[i] * s.decay - step;
    m[i] = s.beta2 * m[i] + s.one_minus_beta2 * g;
  }
}

void move_average_loop(float keep, float take, const float* __restrict x, float* __restrict average, int64_t n) {
  for (int64_t i = 0; i < n; ++i) average[i] = keep * average[i] + take * x[i];
}

constexpr OptimizerTable kTable{adam_loop,  sgd_loop,  rmsprop_loop,     adagrad_loop,
                                nadam_loop, lion_loop, move_average_loop};

}  // namespace

}  // namespace thimble::kernels
