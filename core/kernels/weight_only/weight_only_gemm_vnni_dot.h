// The products by vpdpbusd, shared by the AVX512-VNNI kernel and, for few rows, the AMX kernel.
#pragma once

#include <immintrin.h>

#include <thimble/core/kernels/weight_only/weight_only_gemm_loops.h>

namespace thimble::kernels {
namespace {

// A fixed-point number is 256 * high + low, both signed bytes, so that vpdpbusd can multiply it. The sums of all lanes
// fit int32 for each byte (255 * 128 * 1024), and once lanes are apart for both.
struct VnniDot {
  static constexpr int kWidth = 16, kFewSums = 8, kManySums = 12, kSums = 2;
  static constexpr bool kCumulative = true;
  using Bytes = __m512i;
  using Weights = __m512i;
  struct Activations {
    __m512i high, low;
  };
  using Sum = Vector<int32_t, 16>;

  static Sum zero() { return Sum{}; }
  static Sum sum(Sum a, Sum b) { return a + b; }
  static Bytes load(const uint8_t* p) { return _mm512_load_si512(p); }
  static Bytes masked(Bytes b, uint8_t mask) { return _mm512_and_si512(b, _mm512_set1_epi8(static_cast<char>(mask))); }
  static Weights weights(Bytes b) { return b; }
  // 64 numbers at a time. Packing interleaves the 128-bit lanes of its operands, 32 bits of each in turn.
  static void split(const int32_t* q, int64_t n, uint8_t* high, uint8_t* low) {
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i half = _mm512_set1_epi16(128), byte = _mm512_set1_epi16(255);
    for (int64_t i = 0; i < n; i += 64) {
      const __m512i a = _mm512_packs_epi32(_mm512_load_si512(q + i), _mm512_load_si512(q + i + 16));
      const __m512i b = _mm512_packs_epi32(_mm512_load_si512(q + i + 32), _mm512_load_si512(q + i + 48));
      const __m512i high_bytes = _mm512_packs_epi16(_mm512_srai_epi16(_mm512_add_epi16(a, half), 8),
                                                    _mm512_srai_epi16(_mm512_add_epi16(b, half), 8));
      const __m512i low_bytes = _mm512_packus_epi16(_mm512_and_si512(a, byte), _mm512_and_si512(b, byte));
      const __mmask64 existing = n - i < 64 ? (uint64_t{1} << (n - i)) - 1 : ~uint64_t{0};
      _mm512_mask_storeu_epi8(high + i, existing, _mm512_permutexvar_epi32(in_order, high_bytes));
      _mm512_mask_storeu_epi8(low + i, existing, _mm512_permutexvar_epi32(in_order, low_bytes));
    }
  }
  static __m512i four(const uint8_t* p) {
    int32_t bytes;
    std::memcpy(&bytes, p, 4);
    return _mm512_set1_epi32(bytes);
  }
  static Activations activations(const uint8_t* high, const uint8_t* low) { return {four(high), four(low)}; }
  // Assembly, because g++ 12 surrounds the intrinsic with register copies that cost most of its speed.
  static Sum dot(Sum sums, __m512i a, __m512i w) {
    asm("vpdpbusd %1, %2, %0" : "+v"(sums) : "v"(a), "v"(w));
    return sums;
  }
  static Sum add_products(int i, Sum sum, Weights w, const Activations& a) {
    return dot(sum, i == 0 ? a.high : a.low, w);
  }
  static Ints<VnniDot> total(const Sum (&sums)[2]) { return {{(sums[0] << 8) + sums[1]}}; }
};

}  // namespace
}  // namespace thimble::kernels
