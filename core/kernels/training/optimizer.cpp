#include <thimble/core/kernels/elementwise/flush_denormals.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/training/optimizer.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const OptimizerTable*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &optimizer_avx512}, {Isa::avx2, &optimizer_avx2}){Isa::scalar, &optimizer_scalar}};

const OptimizerTable& table() { return *best_kernel<kKernels>(); }

}  // namespace

void adam(const AdamStep& step, const float* grad, float* param, float* m, float* v, float* largest, int64_t n) {
  // The moments of a weight that no longer gets gradients (its pixel is always black) decay until they are denormal,
  // and stay so for good: the step would become many times slower as training goes on.
  const FlushDenormals flush;
  table().adam_loop(step, grad, param, m, v, largest, n);
}

void sgd(const SgdStep& step, const float* grad, float* param, float* velocity, int64_t n) {
  const FlushDenormals flush;
  table().sgd_loop(step, grad, param, velocity, n);
}

void rmsprop(const RmspropStep& step, const float* grad, float* param, float* v, float* mean, float* buffer,
             int64_t n) {
  const FlushDenormals flush;
  table().rmsprop_loop(step, grad, param, v, mean, buffer, n);
}

void adagrad(const AdagradStep& step, const float* grad, float* param, float* sum, int64_t n) {
  const FlushDenormals flush;
  table().adagrad_loop(step, grad, param, sum, n);
}

void nadam(const NadamStep& step, const float* grad, float* param, float* m, float* v, int64_t n) {
  const FlushDenormals flush;
  table().nadam_loop(step, grad, param, m, v, n);
}

void lion(const LionStep& step, const float* grad, float* param, float* m, int64_t n) {
  const FlushDenormals flush;
  table().lion_loop(step, grad, param, m, n);
}

void move_average(float keep, float take, const float* x, float* average, int64_t n) {
  const FlushDenormals flush;
  table().move_average_loop(keep, take, x, average, n);
}

}  // namespace thimble::kernels
