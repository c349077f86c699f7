// What the AVX-512 kernels have in common: the epilogue. In an anonymous namespace for the reason given in
// int8_gemm_loops.h.
#pragma once

#include <immintrin.h>

#include <thimble/core/kernels/int8/int8_gemm_loops.h>

namespace thimble::kernels {
namespace {

struct Avx512Vector {
  using Sums = __m512i;
  static Sums zero() { return _mm512_setzero_si512(); }
  static void store(int32_t* out, Sums sums) { _mm512_store_si512(out, sums); }

  struct Scale {
    __m512i bias;
    __m512 multiplier, offset;
    __mmask16 existing;
    Scale() = default;
    Scale(const int32_t* b, const float* m, const float* o, int count)
        : bias(_mm512_loadu_si512(b)),
          multiplier(_mm512_loadu_ps(m)),
          offset(_mm512_loadu_ps(o)),
          existing(static_cast<__mmask16>((1u << count) - 1)) {}
  };
  struct Limits {
    __m512 low, high;
    __m512i zero_point;
    explicit Limits(const Int8GemmTask& t)
        : low(_mm512_set1_ps(t.low)), high(_mm512_set1_ps(t.high)), zero_point(_mm512_set1_epi32(t.zero_point)) {}
  };
  static __m512 scaled(const int32_t* sums, const Scale& s, const Limits& l) {
    const __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums), s.bias);
    return _mm512_max_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), s.multiplier), l.low);
  }
  static void finish(const int32_t* sums, const Scale& s, const Limits& l, float* out) {
    _mm512_mask_storeu_ps(out, s.existing, scaled(sums, s, l));
  }
  static void finish_row(const int32_t* sums, const Scale& s, const Limits& l, int32_t zero_point, float scale,
                         float* out) {
    const __m512i correction = _mm512_mullo_epi32(s.bias, _mm512_set1_epi32(zero_point));
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(sums), correction));
    const __m512 multiplier = _mm512_mul_ps(_mm512_set1_ps(scale), s.multiplier);
    const __m512 v = _mm512_add_ps(_mm512_mul_ps(sum, multiplier), s.offset);
    _mm512_mask_storeu_ps(out, s.existing, _mm512_max_ps(v, l.low));
  }
  static void finish(const int32_t* sums, const Scale& s, const Limits& l, uint8_t* out) {
    const __m512i q = _mm512_cvtps_epi32(_mm512_min_ps(scaled(sums, s, l), l.high));
    _mm_mask_storeu_epi8(out, s.existing, _mm512_cvtepi32_epi8(_mm512_add_epi32(q, l.zero_point)));
  }
};

}  // namespace
}  // namespace thimble::kernels
