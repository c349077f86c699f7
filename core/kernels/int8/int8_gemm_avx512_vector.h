// What the AVX-512 kernels have in common: the epilogue. In an anonymous namespace for the reason given in
// int8_gemm_loops.h.
#pragma once

#include <immintrin.h>

#include <thimble/core/kernels/int8/int8_gemm_loops.h>

namespace thimble::kernels {
namespace {

struct Avx512Vector {
  static constexpr int kAtOnce = 4;
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
  static Sums bias(const Scale& s) { return s.bias; }
  static Sums load_sums(const int32_t* p, const Scale& s) { return _mm512_add_epi32(_mm512_load_si512(p), s.bias); }
  struct Limits {
    __m512 low, high;
    __m512i zero_point, zero_points, lowest;  // as words, and the lowest result as bytes
    explicit Limits(const Int8GemmTask& t)
        : low(_mm512_set1_ps(t.low)),
          high(_mm512_set1_ps(t.high)),
          zero_point(_mm512_set1_epi32(t.zero_point)),
          zero_points(_mm512_set1_epi16(static_cast<int16_t>(t.zero_point))),
          lowest(_mm512_set1_epi8(t.float_out ? 0 : static_cast<char>(static_cast<int32_t>(t.low) + t.zero_point))) {}
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

  // Rounded, not below INT32_MIN, which is what the conversion makes of all that is.
  static __m512i rounded(Sums sums, const Scale& s, const Limits& l) {
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), s.multiplier), l.high));
  }
  // Narrowing saturates, which is half of the clamp; it takes the lanes of both operands in turn.
  template <int kBeside, typename SumsOf, typename ScaleOf, typename OutOf>
  [[gnu::always_inline]] static void finish_several(SumsOf&& sums_of, ScaleOf&& scale_of, const Limits& l,
                                                    OutOf&& out_of) {
    const auto rounded_at = [&](auto j) __attribute__((always_inline)) { return rounded(sums_of(j), scale_of(j), l); };
    const auto words = [&](auto j) __attribute__((always_inline)) {
      const std::integral_constant<int, j + 1> next;
      return _mm512_adds_epi16(_mm512_packs_epi32(rounded_at(j), rounded_at(next)), l.zero_points);
    };
    const __m512i in_lanes =
        _mm512_packus_epi16(words(std::integral_constant<int, 0>()), words(std::integral_constant<int, 2>()));
    const __m512i bytes = _mm512_max_epu8(in_lanes, l.lowest);
    const __m512i in_order =
        _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
    // Masks cost nothing, and a branch would.
    const auto existing = [&](int j) __attribute__((always_inline)) {
      return uint64_t{scale_of(j).existing} << 16 * j;
    };
    if constexpr (kBeside == 4) {
      _mm512_mask_storeu_epi8(out_of(0), existing(0) | existing(1) | existing(2) | existing(3), in_order);
    } else if constexpr (kBeside == 2) {
      const auto both = static_cast<__mmask32>(existing(0) | existing(1));
      _mm256_mask_storeu_epi8(out_of(0), both, _mm512_castsi512_si256(in_order));
      _mm256_mask_storeu_epi8(out_of(2), both, _mm512_extracti64x4_epi64(in_order, 1));
    } else {
      const __m256i low = _mm512_castsi512_si256(in_order), high = _mm512_extracti64x4_epi64(in_order, 1);
      _mm_mask_storeu_epi8(out_of(0), scale_of(0).existing, _mm256_castsi256_si128(low));
      _mm_mask_storeu_epi8(out_of(1), scale_of(1).existing, _mm256_extracti128_si256(low, 1));
      _mm_mask_storeu_epi8(out_of(2), scale_of(2).existing, _mm256_castsi256_si128(high));
      _mm_mask_storeu_epi8(out_of(3), scale_of(3).existing, _mm256_extracti128_si256(high, 1));
    }
  }
};

}  // namespace
}  // namespace thimble::kernels
