// Vectors of floats as loops over them want it (see float_vectors.h), of 512 bits. For sources compiled for AVX-512.
#pragma once

#include <immintrin.h>

namespace thimble::kernels {
namespace {

struct Avx512Float {
  using Value = float;
  using Register = __m512;
  static constexpr int kWidth = 16;

  static __mmask16 mask(int count) { return static_cast<__mmask16>((1u << count) - 1); }
  static __m512 load(const float* p) { return _mm512_loadu_ps(p); }
  static __m512 load(const float* p, int count) { return _mm512_maskz_loadu_ps(mask(count), p); }
  static void store(float* p, __m512 v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, __m512 v, int count) { _mm512_mask_storeu_ps(p, mask(count), v); }
  static __m512 zero() { return _mm512_setzero_ps(); }
  static __m512 broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static __m512 multiply_add(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
  static __m512 add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
  static __m512 max(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
  static __m512 min(__m512 a, __m512 b) { return _mm512_min_ps(a, b); }
};

struct Avx512Double {
  using Value = double;
  using Register = __m512d;
  static constexpr int kWidth = 8;

  static __mmask8 mask(int count) { return static_cast<__mmask8>((1u << count) - 1); }
  static __m512d load(const double* p) { return _mm512_loadu_pd(p); }
  static __m512d load(const double* p, int count) { return _mm512_maskz_loadu_pd(mask(count), p); }
  static void store(double* p, __m512d v) { _mm512_storeu_pd(p, v); }
  static void store(double* p, __m512d v, int count) { _mm512_mask_storeu_pd(p, mask(count), v); }
  static __m512d zero() { return _mm512_setzero_pd(); }
  static __m512d broadcast(const double* p) { return _mm512_set1_pd(*p); }
  static __m512d multiply_add(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }
  static __m512d add(__m512d a, __m512d b) { return _mm512_add_pd(a, b); }
  static __m512d max(__m512d a, __m512d b) { return _mm512_max_pd(a, b); }
  static __m512d min(__m512d a, __m512d b) { return _mm512_min_pd(a, b); }
};

}  // namespace
}  // namespace thimble::kernels
