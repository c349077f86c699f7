// Sixteen channels by pmaddwd. In an anonymous namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <thimble/core/kernels/int8/int8_depthwise_avx2_registers.h>
#include <thimble/core/kernels/int8/int8_depthwise_madd_vector.h>

namespace thimble::kernels {
namespace {

struct Madd256 : Avx2Registers256 {
  static Ints load_words(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Ints add_word_products(Ints sums, Ints taps, const int16_t* weights) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(taps, load(weights)));
  }
  static void store_words(uint8_t* p, Ints v, const DepthwiseLimits& l, int64_t count) {
    const __m128i low = _mm256_castsi256_si128(v), high = _mm256_extracti128_si256(v, 1);
    Avx2Registers128::store(p, Avx2Registers128::bytes_of(low, high, l), count);
  }
};

}  // namespace
}  // namespace thimble::kernels
