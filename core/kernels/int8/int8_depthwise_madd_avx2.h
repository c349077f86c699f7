// Products by pmaddwd, which adds up two neighbouring ones of 16 bits: what of 8 bits does that can saturate. In an
// anonymous namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <thimble/core/kernels/int8/int8_depthwise_avx2_registers.h>

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

struct Madd128 : Avx2Registers128 {
  static constexpr int kRows = 2;
  static Ints add_products(Ints sums, Ints words, Ints weights) {
    return in_order(_mm_add_epi32(sums, _mm_madd_epi16(words, weights)));
  }
};

}  // namespace
}  // namespace thimble::kernels
