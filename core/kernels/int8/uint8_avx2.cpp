#include <immintrin.h>

#include <thimble/core/kernels/int8/uint8_avx2_vector.h>
#include <thimble/core/kernels/int8/uint8_vector_loops.h>

namespace thimble::kernels {

namespace {

constexpr int kSlices = 16;  // of 16 entries, which a shuffle looks up

__m256i load256(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
// A shuffle gives 0 for indices of 128 to 255, and looks at the lowest four bits of others. So of an index from which
// 16 is taken again and again, with saturation at -128, the first shuffles look up something, and the last of them in
// the slice that it means: each slice is stored as the difference (exclusive or) from the one before.
void look_up_in_slices(const uint8_t* x, int64_t n, const uint8_t* table, uint8_t* out) {
  __m256i slices[kSlices];
  for (int i = 0; i < kSlices; ++i)
    slices[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
  for (int i = kSlices - 1; i > 0; --i)
    if (i != kSlices / 2) slices[i] = _mm256_xor_si256(slices[i], slices[i - 1]);
  const __m256i slice = _mm256_set1_epi8(16), half = _mm256_set1_epi8(-128);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256i low = load256(x + i), high = _mm256_xor_si256(low, half);
    __m256i of_low = _mm256_shuffle_epi8(slices[0], low), of_high = _mm256_shuffle_epi8(slices[kSlices / 2], high);
#pragma GCC unroll 8
    for (int s = 1; s < kSlices / 2; ++s) {
      low = _mm256_subs_epi8(low, slice);
      high = _mm256_subs_epi8(high, slice);
      of_low = _mm256_xor_si256(of_low, _mm256_shuffle_epi8(slices[s], low));
      of_high = _mm256_xor_si256(of_high, _mm256_shuffle_epi8(slices[kSlices / 2 + s], high));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_or_si256(of_low, of_high));
  }
  look_up_each(x + i, n - i, table, out + i);
}

}  // namespace

const Uint8Kernels uint8_avx2{look_up_in_slices,
                              clamp_each,
                              add_in_vectors<Avx2Bytes>,
                              maximum_in_vectors<Avx2Bytes>,
                              minimum_in_vectors<Avx2Bytes>,
                              mul_in_vectors<Avx2Bytes>,
                              sum_in_vectors<Avx2Bytes>,
                              mean_in_vectors<Avx2Bytes>};

}  // namespace thimble::kernels
