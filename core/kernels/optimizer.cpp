#include <thimble/core/isa.h>
#include <thimble/core/kernels/optimizer.h>

namespace thimble::kernels {

namespace {

const OptimizerTable& table() {
#if defined(__x86_64__)
  if (active_isa() >= Isa::avx512) return optimizer_avx512;
  if (active_isa() >= Isa::avx2) return optimizer_avx2;
#endif
  return optimizer_scalar;
}

}  // namespace

void adam(const AdamStep& step, const float* grad, float* param, float* m, float* v, int64_t n) {
  table().adam_loop(step, grad, param, m, v, n);
}

void sgd(const SgdStep& step, const float* grad, float* param, float* velocity, int64_t n) {
  table().sgd_loop(step, grad, param, velocity, n);
}

}  // namespace thimble::kernels
