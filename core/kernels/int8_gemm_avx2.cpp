#include <immintrin.h>

#include <thimble/core/kernels/int8_gemm_loops.h>

namespace thimble::kernels {
namespace {

// A panel is two vectors of 8 channels. As with AVX-512, bytes are widened to 16 bits: vpmaddubsw would saturate.
struct Vector {
  static constexpr int kRows = 4, kPanels = 1, kPanelsOfOneRow = 2;
  struct Sums {
    __m256i half[2];
  };
  struct Pairs {
    __m256i even, odd;
  };
  struct Weights {
    Pairs half[2];
  };
  using Activations = Pairs;

  static __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Sums zero() { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
  static Weights weights(const int8_t* p) {
    const auto widen = [](__m256i w) {
      return Pairs{_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)};
    };
    return {{widen(load(p)), widen(load(p + 32))}};
  }
  static Activations activations(uint32_t four) {
    const __m256i a = _mm256_set1_epi32(static_cast<int32_t>(four));
    return {_mm256_and_si256(a, _mm256_set1_epi16(255)), _mm256_srli_epi16(a, 8)};
  }
  static Sums add_products(Sums sums, const Activations& a, const Weights& w) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const Pairs& pairs = w.half[h];
      const __m256i products =
          _mm256_add_epi32(_mm256_madd_epi16(a.even, pairs.even), _mm256_madd_epi16(a.odd, pairs.odd));
      sums.half[h] = _mm256_add_epi32(sums.half[h], products);
    }
    return sums;
  }
  static void store(int32_t* out, const Sums& sums) {
    for (int h = 0; h < 2; ++h) _mm256_store_si256(reinterpret_cast<__m256i*>(out + 8 * h), sums.half[h]);
  }

  static __m256 scaled(const int32_t* sums, const int32_t* bias, const float* multiplier, float low) {
    const __m256i sum = _mm256_add_epi32(load(sums), load(bias));
    return _mm256_max_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(multiplier)), _mm256_set1_ps(low));
  }
  static void finish(const int32_t* sums, const int32_t* bias, const float* multiplier, const Int8GemmTask& t,
                     float* out) {
    for (int c = 0; c < kPanel; c += 8) _mm256_storeu_ps(out + c, scaled(sums + c, bias + c, multiplier + c, t.low));
  }
  static void finish(const int32_t* sums, const int32_t* bias, const float* multiplier, const Int8GemmTask& t,
                     uint8_t* out) {
    __m128i words[2];
    for (int h = 0; h < 2; ++h) {
      const int c = 8 * h;
      const __m256 v = _mm256_min_ps(scaled(sums + c, bias + c, multiplier + c, t.low), _mm256_set1_ps(t.high));
      const __m256i q = _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(t.zero_point));
      words[h] = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(words[0], words[1]));
  }
};

}  // namespace

void int8_gemm_avx2(const Int8GemmTask& task, const Int8GemmRange& range) { run_task<Vector>(task, range); }

}  // namespace thimble::kernels
