#include <immintrin.h>

#include <thimble/core/kernels/int8/quantized_softmax_loops.h>

namespace thimble::kernels {
namespace {

// Vectors of terms, of 2^22 at most, whose sums cannot leave uint32.
constexpr int64_t kMostVectors = 512;

// 16 floats to choose from, 8 in a register.
struct Sixteen {
  __m256 lower, upper;
  explicit Sixteen(const float* p) : lower(_mm256_loadu_ps(p)), upper(_mm256_loadu_ps(p + 8)) {}

  // By the lowest 4 bits, of which the highest chooses the register.
  __m256 operator[](__m256i index) const {
    const __m256 is_upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, index), _mm256_permutevar8x32_ps(upper, index), is_upper);
  }
};

uint64_t sum_of(__m256i sums) {
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sums);
  uint64_t sum = 0;
  for (const uint32_t lane : lanes) sum += lane;
  return sum;
}

uint64_t terms_of(const uint8_t* x, int64_t n, uint8_t largest, const QuantizedSoftmaxTable& table, int32_t* terms) {
  const Sixteen high(table.high), low(table.low);
  const __m256i most = _mm256_set1_epi32(largest);
  uint64_t sum = 0;
  int64_t i = 0;
  while (i + 8 <= n) {
    const int64_t end = n - i < 8 * kMostVectors ? n - 7 : i + 8 * kMostVectors;
    __m256i sums = _mm256_setzero_si256();
    for (; i < end; i += 8) {
      const __m256i q = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + i)));
      const __m256i below = _mm256_sub_epi32(most, q);
      const __m256i term = _mm256_cvtps_epi32(_mm256_mul_ps(high[_mm256_srli_epi32(below, 4)], low[below]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(terms + i), term);
      sums = _mm256_add_epi32(sums, term);
    }
    sum += sum_of(sums);
  }
  return sum + look_terms_up(x + i, n - i, largest, table, terms + i);
}

}  // namespace

const QuantizedSoftmaxRows quantized_softmax_avx2{largest_of, terms_of, results_of};

}  // namespace thimble::kernels
