// Registers of 256 and 128 bits as depthwise vectors (int8_depthwise_vector.h) want them, without what multiplies. In
// an anonymous namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <cstring>

#include <immintrin.h>

#include <thimble/core/kernels/int8/int8_depthwise_loops.h>

namespace thimble::kernels {
namespace {

// The first `count` bytes, of 1 to 15.
[[gnu::always_inline]] inline void store_few(uint8_t* p, __m128i v, int64_t count) {
  const auto store_part = [&]<int kBytes>() __attribute__((always_inline)) {
    if (!(count & kBytes)) return;
    const int64_t bytes = _mm_cvtsi128_si64(v);
    std::memcpy(p, &bytes, kBytes);
    p += kBytes;
    v = _mm_srli_si128(v, kBytes);
  };
  store_part.template operator()<8>();
  store_part.template operator()<4>();
  store_part.template operator()<2>();
  store_part.template operator()<1>();
}

struct Avx2Registers256 {
  using Ints = __m256i;
  using Floats = __m256;
  static constexpr int kLanes = 2;

  static Ints load(const Ints* p) { return _mm256_load_si256(p); }
  static void store(Ints* p, Ints v) { _mm256_store_si256(p, v); }
  static Floats load_floats(const float* p) { return _mm256_load_ps(p); }
  static Ints load_pixel(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const Ints*>(p)); }
  // More than 16 of its channels.
  static void store_pixel(uint8_t* p, Ints v, int64_t count) {
    if (count >= 32) return _mm256_storeu_si256(reinterpret_cast<Ints*>(p), v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
    store_few(p + 16, _mm256_extracti128_si256(v, 1), count - 16);
  }
  static Ints low_bytes(Ints a, Ints b) { return _mm256_unpacklo_epi8(a, b); }
  static Ints high_bytes(Ints a, Ints b) { return _mm256_unpackhi_epi8(a, b); }
  static Ints low_words(Ints a, Ints b) { return _mm256_unpacklo_epi16(a, b); }
  static Ints high_words(Ints a, Ints b) { return _mm256_unpackhi_epi16(a, b); }
  static Ints low_ints(Ints a, Ints b) { return _mm256_unpacklo_epi32(a, b); }
  static Ints high_ints(Ints a, Ints b) { return _mm256_unpackhi_epi32(a, b); }
  static Ints low_halves(Ints a, Ints b) { return _mm256_unpacklo_epi64(a, b); }
  static Ints high_halves(Ints a, Ints b) { return _mm256_unpackhi_epi64(a, b); }
  static Floats all(float x) { return _mm256_set1_ps(x); }
  static Ints all_words(int16_t x) { return _mm256_set1_epi16(x); }
  static Ints all_bytes(uint8_t x) { return _mm256_set1_epi8(static_cast<char>(x)); }
  static Floats scaled(Ints sums, Floats multiplier) { return _mm256_mul_ps(_mm256_cvtepi32_ps(sums), multiplier); }
  static Floats smaller_floats(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Ints rounded(Floats x) { return _mm256_cvtps_epi32(x); }
  static Ints words_of(Ints a, Ints b) { return _mm256_packs_epi32(a, b); }
  static Ints bytes_of(Ints a, Ints b) { return _mm256_packus_epi16(a, b); }
  static Ints add_ints(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static Ints add_words(Ints a, Ints b) { return _mm256_adds_epi16(a, b); }
  static Ints smaller_bytes(Ints a, Ints b) { return _mm256_min_epu8(a, b); }
  static Ints larger_bytes(Ints a, Ints b) { return _mm256_max_epu8(a, b); }
};

struct Avx2Registers128 {
  using Ints = __m128i;
  using Floats = __m128;
  static constexpr int kLanes = 1;

  static Ints load(const Ints* p) { return _mm_load_si128(p); }
  static void store(Ints* p, Ints v) { _mm_store_si128(p, v); }
  static Floats load_floats(const float* p) { return _mm_load_ps(p); }
  static Ints load_pixel(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const Ints*>(p)); }
  static void store_pixel(uint8_t* p, Ints v, int64_t count) {
    if (count >= 16) return _mm_storeu_si128(reinterpret_cast<Ints*>(p), v);
    store_few(p, v, count);
  }
  static Ints low_bytes(Ints a, Ints b) { return _mm_unpacklo_epi8(a, b); }
  static Ints high_bytes(Ints a, Ints b) { return _mm_unpackhi_epi8(a, b); }
  static Ints low_words(Ints a, Ints b) { return _mm_unpacklo_epi16(a, b); }
  static Ints high_words(Ints a, Ints b) { return _mm_unpackhi_epi16(a, b); }
  static Ints low_ints(Ints a, Ints b) { return _mm_unpacklo_epi32(a, b); }
  static Ints high_ints(Ints a, Ints b) { return _mm_unpackhi_epi32(a, b); }
  static Ints low_halves(Ints a, Ints b) { return _mm_unpacklo_epi64(a, b); }
  static Ints high_halves(Ints a, Ints b) { return _mm_unpackhi_epi64(a, b); }
  static Floats all(float x) { return _mm_set1_ps(x); }
  static Ints all_words(int16_t x) { return _mm_set1_epi16(x); }
  static Ints all_bytes(uint8_t x) { return _mm_set1_epi8(static_cast<char>(x)); }
  static Floats scaled(Ints sums, Floats multiplier) { return _mm_mul_ps(_mm_cvtepi32_ps(sums), multiplier); }
  static Floats smaller_floats(Floats a, Floats b) { return _mm_min_ps(a, b); }
  static Ints rounded(Floats x) { return _mm_cvtps_epi32(x); }
  static Ints words_of(Ints a, Ints b) { return _mm_packs_epi32(a, b); }
  static Ints bytes_of(Ints a, Ints b) { return _mm_packus_epi16(a, b); }
  static Ints add_ints(Ints a, Ints b) { return _mm_add_epi32(a, b); }
  static Ints add_words(Ints a, Ints b) { return _mm_adds_epi16(a, b); }
  static Ints smaller_bytes(Ints a, Ints b) { return _mm_min_epu8(a, b); }
  static Ints larger_bytes(Ints a, Ints b) { return _mm_max_epu8(a, b); }
};

}  // namespace
}  // namespace thimble::kernels
