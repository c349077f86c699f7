#include <thimble/core/kernels/float_vectors_avx512.h>
#include <thimble/core/kernels/gemm/bf16_gemm_loops.h>

namespace thimble::kernels {

namespace {

struct Bf16Avx512 : Avx512Float {
  static constexpr int kRows = 6, kVectors = 2;

  static __m512 even(const uint32_t* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }
  static __m512 odd(const uint32_t* p) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000))));
  }
};

}  // namespace

constinit const Bf16GemmTable bf16_gemm_avx512 = kBf16TableOf<Bf16Avx512, 64>;

}  // namespace thimble::kernels
