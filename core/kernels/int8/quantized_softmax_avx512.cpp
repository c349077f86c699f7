// Rows are short: what fills no vector is worth masks.
#include <immintrin.h>

#include <thimble/core/kernels/int8/quantized_softmax_rows.h>

namespace thimble::kernels {
namespace {

// Vectors of terms, of 2^22 at most, whose sums cannot leave uint32.
constexpr int64_t kMostVectors = 512;

// Lanes that a row has from here on.
__mmask16 lanes_of(int64_t left) { return left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1); }

uint8_t largest_of(const uint8_t* x, int64_t n) {
  __m256i most = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i += 32) {
    const __mmask32 lanes = n - i >= 32 ? ~uint32_t{0} : (uint32_t{1} << (n - i)) - 1;
    most = _mm256_max_epu8(most, _mm256_maskz_loadu_epi8(lanes, x + i));
  }
  const __m128i half = _mm_max_epu8(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  // There is an instruction for the least of 8 words: of the pairs of what is left to 255.
  const __m128i left = _mm_xor_si128(half, _mm_set1_epi8(-1));
  const __m128i words = _mm_min_epu8(left, _mm_srli_epi16(left, 8));
  return static_cast<uint8_t>(255 - (_mm_cvtsi128_si32(_mm_minpos_epu16(words)) & 255));
}

uint64_t sum_of(__m512i sums) {
  alignas(64) uint32_t lanes[16];
  _mm512_store_si512(lanes, sums);
  uint64_t sum = 0;
  for (const uint32_t lane : lanes) sum += lane;
  return sum;
}

uint64_t terms_of(const uint8_t* x, int64_t n, uint8_t largest, const QuantizedSoftmaxTable& table, int32_t* terms) {
  const __m512 high = _mm512_loadu_ps(table.high), low = _mm512_loadu_ps(table.low);
  const __m512i most = _mm512_set1_epi32(largest);
  uint64_t sum = 0;
  for (int64_t i = 0; i < n;) {
    const int64_t end = n - i < 16 * kMostVectors ? n : i + 16 * kMostVectors;
    __m512i sums = _mm512_setzero_si512();
    for (; i < end; i += 16) {
      const __mmask16 lanes = lanes_of(n - i);
      const __m512i q = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, x + i));
      const __m512i below = _mm512_sub_epi32(most, q);  // its lowest 4 bits choose
      const __m512 value =
          _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(below, 4), high), _mm512_permutexvar_ps(below, low));
      const __m512i term = _mm512_maskz_cvtps_epi32(lanes, value);
      _mm512_mask_storeu_epi32(terms + i, lanes, term);
      sums = _mm512_add_epi32(sums, term);
    }
    sum += sum_of(sums);
  }
  return sum;
}

void results_of(const int32_t* terms, int64_t n, float multiplier, const QuantizedSoftmaxTable& table, uint8_t* out) {
  const __m512 factor = _mm512_set1_ps(multiplier), least = _mm512_set1_ps(table.least),
               most = _mm512_set1_ps(table.most);
  const __m512i zero_point = _mm512_set1_epi32(table.zero_point);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 lanes = lanes_of(n - i);
    const __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(lanes, terms + i)), factor);
    const __m512i q = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, least), most));  // NaN gives the second one
    _mm_mask_storeu_epi8(out + i, lanes, _mm512_cvtepi32_epi8(_mm512_add_epi32(q, zero_point)));
  }
}

}  // namespace

const QuantizedSoftmaxRows quantized_softmax_avx512{largest_of, terms_of, results_of};

}  // namespace thimble::kernels
