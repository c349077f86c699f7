// Vectors of floats as loops over them want it (see float_vectors.h), of 256 bits. For sources compiled for AVX2.
#pragma once

#include <cstdint>

#include <immintrin.h>

namespace thimble::kernels {
namespace {

// -1 in the first `count` of 8 lanes, from an unaligned load.
alignas(32) constexpr int32_t kMask32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
alignas(32) constexpr int64_t kMask64[8] = {-1, -1, -1, -1};

struct Avx2Float {
  using Value = float;
  using Register = __m256;
  static constexpr int kWidth = 8;

  static __m256i mask(int count) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask32 + kWidth - count));
  }
  static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
  static __m256 load(const float* p, int count) { return _mm256_maskload_ps(p, mask(count)); }
  static void store(float* p, __m256 v) { _mm256_storeu_ps(p, v); }
  static void store(float* p, __m256 v, int count) { _mm256_maskstore_ps(p, mask(count), v); }
  static __m256 zero() { return _mm256_setzero_ps(); }
  static __m256 broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static __m256 multiply_add(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
  static __m256 add(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
  static __m256 max(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
  static __m256 min(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
};

struct Avx2Double {
  using Value = double;
  using Register = __m256d;
  static constexpr int kWidth = 4;

  static __m256i mask(int count) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask64 + kWidth - count));
  }
  static __m256d load(const double* p) { return _mm256_loadu_pd(p); }
  static __m256d load(const double* p, int count) { return _mm256_maskload_pd(p, mask(count)); }
  static void store(double* p, __m256d v) { _mm256_storeu_pd(p, v); }
  static void store(double* p, __m256d v, int count) { _mm256_maskstore_pd(p, mask(count), v); }
  static __m256d zero() { return _mm256_setzero_pd(); }
  static __m256d broadcast(const double* p) { return _mm256_broadcast_sd(p); }
  static __m256d multiply_add(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }
  static __m256d add(__m256d a, __m256d b) { return _mm256_add_pd(a, b); }
  static __m256d max(__m256d a, __m256d b) { return _mm256_max_pd(a, b); }
  static __m256d min(__m256d a, __m256d b) { return _mm256_min_pd(a, b); }
};

}  // namespace
}  // namespace thimble::kernels
