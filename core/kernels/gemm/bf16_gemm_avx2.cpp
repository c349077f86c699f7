#include <thimble/core/kernels/float_vectors_avx2.h>
#include <thimble/core/kernels/gemm/bf16_gemm_loops.h>

namespace thimble::kernels {

namespace {

struct Bf16Avx2 : Avx2Float {
  static constexpr int kRows = 3, kVectors = 2;

  static __m256i pairs(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static __m256 even(const uint32_t* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs(p), 16)); }
  static __m256 odd(const uint32_t* p) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs(p), _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  }
};

}  // namespace

constinit const Bf16GemmTable bf16_gemm_avx2 = kBf16TableOf<Bf16Avx2, 32>;

}  // namespace thimble::kernels
