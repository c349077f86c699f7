// The V of uint8_vector_loops.h for AVX2.
#pragma once

#include <cstdint>

#include <immintrin.h>

namespace thimble::kernels {
namespace {

struct Avx2Bytes {
  static constexpr int kFloats = 8;
  using Floats = __m256;
  using Words = __m256i;
  struct Totals {
    __m256i low, high;
  };

  static Floats broadcast(float v) { return _mm256_set1_ps(v); }
  static Floats load_floats(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
  }
  static Floats clamp(Floats v, Floats low, Floats high) { return _mm256_min_ps(_mm256_max_ps(v, low), high); }
  static void store_bytes(const Floats* f, int32_t zero_point, uint8_t* p) {
    const __m256i zero = _mm256_set1_epi32(zero_point);
    const auto rounded = [=](int i) __attribute__((always_inline)) {
      return _mm256_add_epi32(_mm256_cvtps_epi32(f[i]), zero);
    };
    const __m256i words[] = {_mm256_packs_epi32(rounded(0), rounded(1)), _mm256_packs_epi32(rounded(2), rounded(3))};
    // Packing goes by halves of registers.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words[0], words[1]), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes);
  }

  static Words add_bytes(Words words, const uint8_t* p) {
    return _mm256_add_epi16(words, _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static Totals add_words(Totals totals, Words words) {
    return {_mm256_add_epi32(totals.low, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(words))),
            _mm256_add_epi32(totals.high, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1)))};
  }
  static void store(Totals totals, uint32_t* p) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), totals.low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + kFloats), totals.high);
  }
  static void store_means(Totals totals, Floats count, uint8_t* p) {
    const auto mean = [=](__m256i sums) __attribute__((always_inline)) {
      return _mm256_cvtps_epi32(_mm256_div_ps(_mm256_cvtepi32_ps(sums), count));
    };
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(mean(totals.low), mean(totals.high)), 0xd8);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }
};

}  // namespace
}  // namespace thimble::kernels
