#include <immintrin.h>

#include <thimble/core/kernels/gemm/gemv_loops.h>

namespace thimble::kernels {

namespace {
struct Avx2 {
  static constexpr int kLanes = 8;
  static __m256 multiply_add(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
};
}  // namespace

constinit const GemvTable gemv_avx2 = kGemvOf<Avx2>;

}  // namespace thimble::kernels
