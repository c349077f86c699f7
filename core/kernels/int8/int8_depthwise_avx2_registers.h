// Registers of 256 and 128 bits as the depthwise vectors want them: 8 and 4 sums of int32 each. In an anonymous
// namespace for the reason given in int8_depthwise_loops.h.
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

// Of its 32 channels there may be fewer, more than 16. It reads all the same.
struct Avx2Registers256 {
  using Ints = __m256i;
  static constexpr int kLanes = 2;

  static Ints load(const void* p) { return _mm256_load_si256(static_cast<const Ints*>(p)); }
  static Ints load(const uint8_t* p, int64_t) { return _mm256_loadu_si256(reinterpret_cast<const Ints*>(p)); }
  static void store(void* p, Ints v) { _mm256_store_si256(static_cast<Ints*>(p), v); }
  static void store(uint8_t* p, Ints v, int64_t count) {
    if (count >= 32) return _mm256_storeu_si256(reinterpret_cast<Ints*>(p), v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
    store_few(p + 16, _mm256_extracti128_si256(v, 1), count - 16);
  }
  static Ints low_bytes(Ints a, Ints b) { return _mm256_unpacklo_epi8(a, b); }
  static Ints high_bytes(Ints a, Ints b) { return _mm256_unpackhi_epi8(a, b); }
  static Ints low_pairs(Ints a, Ints b) { return _mm256_unpacklo_epi16(a, b); }
  static Ints high_pairs(Ints a, Ints b) { return _mm256_unpackhi_epi16(a, b); }
  // Rounded, not below INT32_MIN, which is what the conversion makes of all that is: narrowing is the other half of the
  // clamp.
  static Ints rounded(Ints sums, const float* multiplier, const DepthwiseLimits& l) {
    const auto scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_load_ps(multiplier));
    return _mm256_cvtps_epi32(_mm256_min_ps(scaled, _mm256_set1_ps(l.high)));
  }
  static Ints words_of(Ints a, Ints b, const DepthwiseLimits& l) {
    return _mm256_adds_epi16(_mm256_packs_epi32(a, b), load(l.zero_points));
  }
  static Ints bytes_of(Ints a, Ints b, const DepthwiseLimits& l) {
    return _mm256_max_epu8(_mm256_packus_epi16(a, b), load(static_cast<const void*>(l.lowest_results)));
  }
};

// The narrowest: of its 16 channels there may be fewer. It reads all the same.
struct Avx2Registers128 {
  using Ints = __m128i;
  static constexpr int kLanes = 1;

  static Ints load(const void* p) { return _mm_load_si128(static_cast<const Ints*>(p)); }
  static Ints load(const uint8_t* p, int64_t) { return _mm_loadu_si128(reinterpret_cast<const Ints*>(p)); }
  static void store(void* p, Ints v) { _mm_store_si128(static_cast<Ints*>(p), v); }
  static void store(uint8_t* p, Ints v, int64_t count) {
    if (count >= 16) return _mm_storeu_si128(reinterpret_cast<Ints*>(p), v);
    store_few(p, v, count);
  }
  static Ints low_bytes(Ints a, Ints b) { return _mm_unpacklo_epi8(a, b); }
  static Ints high_bytes(Ints a, Ints b) { return _mm_unpackhi_epi8(a, b); }
  static Ints low_pairs(Ints a, Ints b) { return _mm_unpacklo_epi16(a, b); }
  static Ints high_pairs(Ints a, Ints b) { return _mm_unpackhi_epi16(a, b); }
  // Rounded, not below INT32_MIN, which is what the conversion makes of all that is: narrowing is the other half of the
  // clamp.
  static Ints rounded(Ints sums, const float* multiplier, const DepthwiseLimits& l) {
    const auto scaled = _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_load_ps(multiplier));
    return _mm_cvtps_epi32(_mm_min_ps(scaled, _mm_set1_ps(l.high)));
  }
  static Ints words_of(Ints a, Ints b, const DepthwiseLimits& l) {
    return _mm_adds_epi16(_mm_packs_epi32(a, b), load(l.zero_points));
  }
  static Ints bytes_of(Ints a, Ints b, const DepthwiseLimits& l) {
    return _mm_max_epu8(_mm_packus_epi16(a, b), load(static_cast<const void*>(l.lowest_results)));
  }
};

}  // namespace
}  // namespace thimble::kernels
