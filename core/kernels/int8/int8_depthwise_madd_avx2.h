// Products by pmaddwd, which adds up two neighbouring ones of 16 bits: what of 8 bits does that can saturate. In an
// anonymous namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <thimble/core/kernels/int8/int8_depthwise_avx2_registers.h>
#include <thimble/core/kernels/int8/int8_depthwise_words.h>

namespace thimble::kernels {
namespace {

// For one after the other: g++ would add them up as a tree, and has no registers for its leaves.
template <typename Ints>
[[gnu::always_inline]] inline Ints in_order(Ints sums) {
  asm("" : "+v"(sums));
  return sums;
}

struct Madd256 : Avx2Registers256 {
  static constexpr int kRows = 2;
  static Ints add_products(Ints sums, Ints words, Ints weights) {
    return in_order(_mm256_add_epi32(sums, _mm256_madd_epi16(words, weights)));
  }
};

struct Words256 : Madd256 {
  using Pixel = __m128i;
  static Ints load_words(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const Pixel*>(p)));
  }
  static Ints halves_of_lanes(Ints v) { return _mm256_permute4x64_epi64(v, _MM_SHUFFLE(3, 1, 2, 0)); }
  static Pixel first_pixel(Ints v) { return _mm256_castsi256_si128(v); }
  static Pixel second_pixel(Ints v) { return _mm256_extracti128_si256(v, 1); }
  static void store_pixel(uint8_t* p, Pixel v, int64_t count) { Avx2Registers128::store_pixel(p, v, count); }
};

}  // namespace
}  // namespace thimble::kernels
