// The depthwise vectors' registers of 512 bits, 16 sums of int32 each. In an anonymous namespace for the reason given
// in int8_depthwise_loops.h.
#pragma once

#include <immintrin.h>

#include <thimble/core/kernels/int8/int8_depthwise_avx2_registers.h>

namespace thimble::kernels {
namespace {

struct Avx512Registers512 {
  using Ints = __m512i;
  static constexpr int kLanes = 4;

  static Ints load(const void* p) { return _mm512_load_si512(p); }
  static Ints load(const uint8_t* p, int64_t) { return _mm512_loadu_si512(p); }
  static void store(void* p, Ints v) { _mm512_store_si512(p, v); }
  static void store(uint8_t* p, Ints v, int64_t count) {
    if (count >= 64) return _mm512_storeu_si512(p, v);
    _mm512_mask_storeu_epi8(p, (uint64_t{1} << count) - 1, v);
  }
  static Ints low_bytes(Ints a, Ints b) { return _mm512_unpacklo_epi8(a, b); }
  static Ints high_bytes(Ints a, Ints b) { return _mm512_unpackhi_epi8(a, b); }
  static Ints low_pairs(Ints a, Ints b) { return _mm512_unpacklo_epi16(a, b); }
  static Ints high_pairs(Ints a, Ints b) { return _mm512_unpackhi_epi16(a, b); }
  // Rounded, not below INT32_MIN, which is what the conversion makes of all that is: narrowing is the other half of the
  // clamp.
  static Ints rounded(Ints sums, const float* multiplier, const DepthwiseLimits& l) {
    const auto scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_load_ps(multiplier));
    return _mm512_cvtps_epi32(_mm512_min_ps(scaled, _mm512_set1_ps(l.high)));
  }
  static Ints words_of(Ints a, Ints b, const DepthwiseLimits& l) {
    return _mm512_adds_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(static_cast<int16_t>(l.zero_point)));
  }
  static Ints bytes_of(Ints a, Ints b, const DepthwiseLimits& l) {
    return _mm512_max_epu8(_mm512_packus_epi16(a, b), _mm512_set1_epi8(static_cast<char>(l.lowest)));
  }
};

}  // namespace
}  // namespace thimble::kernels
