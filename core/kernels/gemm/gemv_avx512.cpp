#include <immintrin.h>

#include <thimble/core/kernels/gemm/gemv_loops.h>

namespace thimble::kernels {

namespace {
struct Avx512 {
  static constexpr int kLanes = 16;
  static __m512 multiply_add(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
};
}  // namespace

constinit const GemvTable gemv_avx512 = kGemvOf<Avx512>;

}  // namespace thimble::kernels
