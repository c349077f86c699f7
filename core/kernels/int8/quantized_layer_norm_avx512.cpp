// Rows are short: what fills no vector is worth masks.
#include <immintrin.h>

#include <thimble/core/kernels/int8/quantized_layer_norm_rows.h>

namespace thimble::kernels {
namespace {

// Vectors of 32 elements whose sums of squares, of pairs of 16-bit products, cannot leave a lane.
constexpr int64_t kMostVectors = 16 * 1024;

uint64_t sum_of(__m512i sums) {
  alignas(64) uint32_t lanes[16];
  _mm512_store_si512(lanes, sums);
  uint64_t sum = 0;
  for (const uint32_t lane : lanes) sum += lane;
  return sum;
}

SumsOfRow sums_of_row(const uint8_t* x, int64_t n) {
  const __m512i ones = _mm512_set1_epi16(1);
  SumsOfRow sums{};
  for (int64_t i = 0; i < n;) {
    const int64_t end = n - i < 32 * kMostVectors ? n : i + 32 * kMostVectors;
    __m512i values = _mm512_setzero_si512(), squares = _mm512_setzero_si512();
    for (; i < end; i += 32) {
      const __mmask32 lanes = end - i >= 32 ? ~uint32_t{0} : (uint32_t{1} << (end - i)) - 1;
      const __m512i v = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(lanes, x + i));
      values = _mm512_add_epi32(values, _mm512_madd_epi16(v, ones));
      squares = _mm512_add_epi32(squares, _mm512_madd_epi16(v, v));
    }
    sums.values += sum_of(values);
    sums.squares += sum_of(squares);
  }
  return sums;
}

void affine_of_row(const uint8_t* x, int64_t n, const QuantizedAffine& a, uint8_t* out) {
  const __m512 factor = _mm512_set1_ps(a.factor), offset = _mm512_set1_ps(a.offset), least = _mm512_set1_ps(a.least),
               most = _mm512_set1_ps(a.most);
  const __m512i zero_point = _mm512_set1_epi32(a.zero_point);
  const float *weight = a.weight, *bias = a.bias;
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 lanes = n - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (n - i)) - 1);
    const __m512 q = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, x + i)));
    const __m512 normalized = _mm512_add_ps(_mm512_mul_ps(q, factor), offset);
    const __m512 v = _mm512_add_ps(_mm512_mul_ps(normalized, _mm512_maskz_loadu_ps(lanes, weight + i)),
                                   _mm512_maskz_loadu_ps(lanes, bias + i));
    // NaN gives the second one.
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, least), most));
    _mm_mask_storeu_epi8(out + i, lanes, _mm512_cvtepi32_epi8(_mm512_add_epi32(rounded, zero_point)));
  }
}

}  // namespace

const QuantizedLayerNormRows quantized_layer_norm_avx512{sums_of_row, affine_of_row};

}  // namespace thimble::kernels
