#include <immintrin.h>

#include <thimble/core/kernels/int8/quantized_softmax_loops.h>

namespace thimble::kernels {
namespace {

uint64_t terms_of(const uint8_t* x, int64_t n, uint8_t largest, const QuantizedSoftmaxTable& table, int32_t* terms) {
  const __m512 high = _mm512_loadu_ps(table.high), low = _mm512_loadu_ps(table.low);
  const __m512i most = _mm512_set1_epi32(largest);
  uint64_t sum = 0;
  int64_t i = 0;
  while (i + 16 <= n) {
    const int64_t end = n - i < 16 * kMostVectors ? n - 15 : i + 16 * kMostVectors;
    __m512i sums = _mm512_setzero_si512();
    for (; i < end; i += 16) {
      const __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i)));
      const __m512i below = _mm512_sub_epi32(most, q);  // its lowest 4 bits choose
      const __m512 value =
          _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(below, 4), high), _mm512_permutexvar_ps(below, low));
      const __m512i term = _mm512_cvtps_epi32(value);
      _mm512_storeu_si512(terms + i, term);
      sums = _mm512_add_epi32(sums, term);
    }
    const __m512i wide = _mm512_add_epi64(_mm512_cvtepu32_epi64(_mm512_castsi512_si256(sums)),
                                          _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(sums, 1)));
    sum += static_cast<uint64_t>(_mm512_reduce_add_epi64(wide));
  }
  return sum + look_terms_up(x + i, n - i, largest, table, terms + i);
}

}  // namespace

const QuantizedSoftmaxRows quantized_softmax_avx512{largest_of, terms_of, results_of};

}  // namespace thimble::kernels
