#include <immintrin.h>

#include <thimble/core/kernels/int8/quantized_softmax_loops.h>

namespace thimble::kernels {
namespace {

// Lanes that a row has from here on.
__mmask16 lanes_of(int64_t left) { return left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1); }

uint8_t largest_in_row(const uint8_t* x, int64_t n) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 64) {
    const __mmask64 lanes = n - i >= 64 ? ~uint64_t{0} : (uint64_t{1} << (n - i)) - 1;
    most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(lanes, x + i));
  }
  const __m256i half = _mm256_max_epu8(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
  const __m128i quarter = _mm_max_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  // There is a minimum of 8 words: of those that are left from 255.
  const __m128i left = _mm_xor_si128(quarter, _mm_set1_epi8(-1));
  const __m128i words = _mm_min_epu8(left, _mm_srli_epi16(left, 8));
  return static_cast<uint8_t>(255 - (_mm_cvtsi128_si32(_mm_minpos_epu16(words)) & 255));
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
    const __m512i wide = _mm512_add_epi64(_mm512_cvtepu32_epi64(_mm512_castsi512_si256(sums)),
                                          _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(sums, 1)));
    sum += static_cast<uint64_t>(_mm512_reduce_add_epi64(wide));
  }
  return sum;
}

// results_of(), 16 at a time, since rows are short.
void results_in_row(const int32_t* terms, int64_t n, float multiplier, const QuantizedSoftmaxTable& table,
                    uint8_t* out) {
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

const QuantizedSoftmaxRows quantized_softmax_avx512{largest_in_row, terms_of, results_in_row};

}  // namespace thimble::kernels
