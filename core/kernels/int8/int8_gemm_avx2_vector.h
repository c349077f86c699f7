// What the kernels of 256 bits have in common: a panel as two vectors of 8 channels, and the epilogue. In an anonymous
// namespace for the reason given in int8_gemm_loops.h.
#pragma once

#include <immintrin.h>

#include <thimble/core/kernels/int8/int8_gemm_loops.h>

namespace thimble::kernels {
namespace {

struct Avx2Vector {
  static constexpr int kAtOnce = 2;
  struct Sums {
    __m256i half[2];
  };

  static __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Sums zero() { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
  static void store(int32_t* out, const Sums& sums) {
    for (int h = 0; h < 2; ++h) _mm256_store_si256(reinterpret_cast<__m256i*>(out + 8 * h), sums.half[h]);
  }

  struct Scale {
    __m256i bias[2];
    __m256 multiplier[2], offset[2];
    int count;
    Scale() = default;
    Scale(const int32_t* b, const float* m, const float* o, int count_)
        : bias{load(b), load(b + 8)},
          multiplier{_mm256_loadu_ps(m), _mm256_loadu_ps(m + 8)},
          offset{_mm256_loadu_ps(o), _mm256_loadu_ps(o + 8)},
          count(count_) {}
  };
  static Sums bias(const Scale& s) { return {{s.bias[0], s.bias[1]}}; }
  static Sums load_sums(const int32_t* p, const Scale& s) {
    return {{_mm256_add_epi32(load(p), s.bias[0]), _mm256_add_epi32(load(p + 8), s.bias[1])}};
  }
  struct Limits {
    __m256 low, high;
    __m256i zero_point, zero_points, lowest;  // as words, and the lowest result as bytes
    explicit Limits(const Int8GemmTask& t)
        : low(_mm256_set1_ps(t.low)),
          high(_mm256_set1_ps(t.high)),
          zero_point(_mm256_set1_epi32(t.zero_point)),
          zero_points(_mm256_set1_epi16(static_cast<int16_t>(t.zero_point))),
          lowest(_mm256_set1_epi8(t.float_out ? 0 : static_cast<char>(static_cast<int32_t>(t.low) + t.zero_point))) {}
  };
  static __m256 scaled(const int32_t* sums, const Scale& s, const Limits& l, int half) {
    const __m256i sum = _mm256_add_epi32(load(sums + 8 * half), s.bias[half]);
    return _mm256_max_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), s.multiplier[half]), l.low);
  }
  static __m128i quantized(const int32_t* sums, const Scale& s, const Limits& l, int half) {
    const __m256i q = _mm256_cvtps_epi32(_mm256_min_ps(scaled(sums, s, l, half), l.high));
    const __m256i shifted = _mm256_add_epi32(q, l.zero_point);
    return _mm_packs_epi32(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
  }
  static void finish(const int32_t* sums, const Scale& s, const Limits& l, float* out) {
    alignas(32) float results[kPanel];
    for (int half = 0; half < 2; ++half) _mm256_store_ps(results + 8 * half, scaled(sums, s, l, half));
    store_first(s.count, results, out);
  }
  static void finish_row(const int32_t* sums, const Scale& s, const Limits& l, int32_t zero_point, float scale,
                         float* out) {
    alignas(32) float results[kPanel];
    for (int half = 0; half < 2; ++half) {
      const __m256i correction = _mm256_mullo_epi32(s.bias[half], _mm256_set1_epi32(zero_point));
      const __m256 sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(load(sums + 8 * half), correction));
      const __m256 multiplier = _mm256_mul_ps(_mm256_set1_ps(scale), s.multiplier[half]);
      const __m256 v = _mm256_add_ps(_mm256_mul_ps(sum, multiplier), s.offset[half]);
      _mm256_store_ps(results + 8 * half, _mm256_max_ps(v, l.low));
    }
    store_first(s.count, results, out);
  }
  static void finish(const int32_t* sums, const Scale& s, const Limits& l, uint8_t* out) {
    alignas(16) uint8_t results[kPanel];
    const __m128i bytes = _mm_packus_epi16(quantized(sums, s, l, 0), quantized(sums, s, l, 1));
    _mm_store_si128(reinterpret_cast<__m128i*>(results), bytes);
    store_first(s.count, results, out);
  }

  // Rounded, not below INT32_MIN, which is what the conversion makes of all that is.
  static __m256i rounded(const Sums& sums, const Scale& s, const Limits& l, int half) {
    const __m256 sum = _mm256_cvtepi32_ps(sums.half[half]);
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(sum, s.multiplier[half]), l.high));
  }
  // Narrowing saturates, which is half of the clamp; it takes the lanes of both operands in turn.
  template <int kBeside, typename SumsOf, typename ScaleOf, typename OutOf>
  [[gnu::always_inline]] static void finish_several(SumsOf&& sums_of, ScaleOf&& scale_of, const Limits& l,
                                                    OutOf&& out_of) {
    const auto words = [&](auto j) __attribute__((always_inline)) {
      const Sums own = sums_of(j);
      const Scale& s = scale_of(j);
      return _mm256_adds_epi16(_mm256_packs_epi32(rounded(own, s, l, 0), rounded(own, s, l, 1)), l.zero_points);
    };
    const __m256i bytes = _mm256_max_epu8(
        _mm256_packus_epi16(words(std::integral_constant<int, 0>()), words(std::integral_constant<int, 1>())),
        l.lowest);
    const __m256i in_order = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    alignas(32) uint8_t results[2 * kPanel];
    _mm256_store_si256(reinterpret_cast<__m256i*>(results), in_order);
    for (int j = 0; j < 2; ++j) store_first(scale_of(j).count, results + j * kPanel, out_of(j));
  }
};

}  // namespace
}  // namespace thimble::kernels
