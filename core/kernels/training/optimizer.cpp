#include <thimble/core/kernels/elementwise/flush_denormals.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/training/optimizer.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const OptimizerTable*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &optimizer_avx512}, {Isa::avx2, &optimizer_avx2}){Isa::scalar, &optimizer_scalar}};

const OptimizerTable& table() { return *best_kernel<kKernels>(); }

}  // namespace

void adam(const AdamStep& step, const float* grad, float* param, float* m, float* v, int64_t n) {
  // The moments of a weight that no longer gets gradients (its pixel is always black) decay until they are denormal,
  // and stay so for good: the step would become many times slower as training goes on.
  const FlushDenormals flush;
  table().adam_loop(step, grad, param, m, v, n);
}

void sgd(const SgdStep& step, const float* grad, float* param, float* velocity, int64_t n) {
  const FlushDenormals flush;
  table().sgd_loop(step, grad, param, velocity, n);
}

}  // namespace thimble::kernels
