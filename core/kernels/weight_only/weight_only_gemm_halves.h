// What the kernels of 256 bits have in common: a panel as two vectors of 8 channels.
#pragma once

#include <immintrin.h>

#include <thimble/core/kernels/weight_only/weight_only_gemm_loops.h>

namespace thimble::kernels {
namespace {

struct HalfPanels {
  struct Halves {
    __m256i half[2];

    friend Halves operator-(const Halves& a, const Halves& b) {
      return {{_mm256_sub_epi32(a.half[0], b.half[0]), _mm256_sub_epi32(a.half[1], b.half[1])}};
    }
    friend Halves operator>>(const Halves& a, int n) {
      const __m128i count = _mm_cvtsi32_si128(n);
      return {{_mm256_sra_epi32(a.half[0], count), _mm256_sra_epi32(a.half[1], count)}};
    }
  };
  using Bytes = Halves;
  using Sum = Halves;
  template <typename F>
  static Halves both(F&& f) {
    return {{f(0), f(1)}};
  }
  static Sum zero() {
    return both([](int) { return _mm256_setzero_si256(); });
  }
  static Sum sum(const Sum& a, const Sum& b) {
    return both([&](int h) { return _mm256_add_epi32(a.half[h], b.half[h]); });
  }
  static Bytes load(const uint8_t* p) {
    return both([p](int h) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p + 32 * h)); });
  }
  static Bytes masked(const Bytes& b, uint8_t mask) {
    return both([&](int h) { return _mm256_and_si256(b.half[h], _mm256_set1_epi8(static_cast<char>(mask))); });
  }
};

}  // namespace
}  // namespace thimble::kernels
