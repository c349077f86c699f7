// What the AVX-512 kernels have in common: the epilogue. In an anonymous namespace for the reason given in
// int8_gemm_loops.h.
#pragma once

#include <immintrin.h>

#include <thimble/core/kernels/int8_gemm_loops.h>

namespace thimble::kernels {
namespace {

struct Avx512Vector {
  using Sums = __m512i;
  static Sums zero() { return _mm512_setzero_si512(); }
  static void store(int32_t* out, Sums sums) { _mm512_store_si512(out, sums); }

  static __m512 scaled(const int32_t* sums, const int32_t* bias, const float* multiplier, float low) {
    const __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums), _mm512_loadu_si512(bias));
    return _mm512_max_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(multiplier)), _mm512_set1_ps(low));
  }
  static void finish(const int32_t* sums, const int32_t* bias, const float* multiplier, const Int8GemmTask& t,
                     float* out) {
    _mm512_storeu_ps(out, scaled(sums, bias, multiplier, t.low));
  }
  static void finish(const int32_t* sums, const int32_t* bias, const float* multiplier, const Int8GemmTask& t,
                     uint8_t* out) {
    const __m512 v = _mm512_min_ps(scaled(sums, bias, multiplier, t.low), _mm512_set1_ps(t.high));
    const __m512i q = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(t.zero_point));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(q));
  }
};

}  // namespace
}  // namespace thimble::kernels
