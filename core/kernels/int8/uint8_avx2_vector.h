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
  static Floats larger(Floats x, Floats y) { return _mm256_max_ps(x, y); }
  static Floats smaller(Floats x, Floats y) { return _mm256_min_ps(x, y); }
  // Each half of a register gives a half to each of the four: packing puts them back.
  static void load_bytes(const uint8_t* p, Floats* f) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i zero = _mm256_setzero_si256(), of_byte = _mm256_set1_epi16(0x4b00);  // the upper half of 2^23
    const __m256i low = _mm256_unpacklo_epi8(bytes, zero), high = _mm256_unpackhi_epi8(bytes, zero);
    f[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low, of_byte));
    f[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low, of_byte));
    f[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(high, of_byte));
    f[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(high, of_byte));
  }
  template <typename Range>
  static void store_bytes(const Floats* f, const Range& range, uint8_t* p) {
    const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(range.zero_point));
    const auto words = [=](int i) __attribute__((always_inline)) {
      const __m256i both = _mm256_packs_epi32(_mm256_cvtps_epi32(f[i]), _mm256_cvtps_epi32(f[i + 1]));
      return _mm256_adds_epi16(both, zero);
    };
    const __m256i bytes = _mm256_packus_epi16(words(0), words(2));
    const __m256i above = _mm256_max_epu8(bytes, _mm256_set1_epi8(static_cast<int8_t>(range.low)));
    const __m256i kept = _mm256_min_epu8(above, _mm256_set1_epi8(static_cast<int8_t>(range.high)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), kept);
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
