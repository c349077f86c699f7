// Those of 512 bits. In an anonymous namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <immintrin.h>

#include <thimble/core/kernels/int8/int8_depthwise_avx2_registers.h>

namespace thimble::kernels {
namespace {

struct Avx512Registers512 {
  using Ints = __m512i;
  using Floats = __m512;
  static constexpr int kLanes = 4;

  static Ints load(const Ints* p) { return _mm512_load_si512(p); }
  static void store(Ints* p, Ints v) { _mm512_store_si512(p, v); }
  static Floats load_floats(const float* p) { return _mm512_load_ps(p); }
  static Ints load_pixel(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store_pixel(uint8_t* p, Ints v, int64_t count) {
    if (count >= 64) return _mm512_storeu_si512(p, v);
    _mm512_mask_storeu_epi8(p, (uint64_t{1} << count) - 1, v);
  }
  static Ints low_bytes(Ints a, Ints b) { return _mm512_unpacklo_epi8(a, b); }
  static Ints high_bytes(Ints a, Ints b) { return _mm512_unpackhi_epi8(a, b); }
  static Ints low_words(Ints a, Ints b) { return _mm512_unpacklo_epi16(a, b); }
  static Ints high_words(Ints a, Ints b) { return _mm512_unpackhi_epi16(a, b); }
  static Ints low_ints(Ints a, Ints b) { return _mm512_unpacklo_epi32(a, b); }
  static Ints high_ints(Ints a, Ints b) { return _mm512_unpackhi_epi32(a, b); }
  static Ints low_halves(Ints a, Ints b) { return _mm512_unpacklo_epi64(a, b); }
  static Ints high_halves(Ints a, Ints b) { return _mm512_unpackhi_epi64(a, b); }
  static Floats all(float x) { return _mm512_set1_ps(x); }
  static Ints all_words(int16_t x) { return _mm512_set1_epi16(x); }
  static Ints all_bytes(uint8_t x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static Floats scaled(Ints sums, Floats multiplier) { return _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multiplier); }
  static Floats smaller_floats(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Ints rounded(Floats x) { return _mm512_cvtps_epi32(x); }
  static Ints words_of(Ints a, Ints b) { return _mm512_packs_epi32(a, b); }
  static Ints bytes_of(Ints a, Ints b) { return _mm512_packus_epi16(a, b); }
  static Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints add_words(Ints a, Ints b) { return _mm512_adds_epi16(a, b); }
  static Ints smaller_bytes(Ints a, Ints b) { return _mm512_min_epu8(a, b); }
  static Ints larger_bytes(Ints a, Ints b) { return _mm512_max_epu8(a, b); }
};

}  // namespace
}  // namespace thimble::kernels
