#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {

namespace {

const SmallGemmTable& table() {
#if defined(__x86_64__)
  if (active_isa() >= Isa::avx512) return small_gemm_avx512;
  if (active_isa() >= Isa::avx2) return small_gemm_avx2;
#endif
  return small_gemm_scalar;
}

}  // namespace

void small_gemm(const SmallGemm<float>& task) { table().float32(task); }
void small_gemm(const SmallGemm<double>& task) { table().float64(task); }

void add_products(int64_t n, const float* a, const float* b, float* c) { table().add_products32(n, a, b, c); }
void add_products(int64_t n, const double* a, const double* b, double* c) { table().add_products64(n, a, b, c); }

}  // namespace thimble::kernels
