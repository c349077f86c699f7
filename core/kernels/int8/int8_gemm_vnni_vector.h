// The vpdpbusd vector, shared by the AVX512-VNNI kernel and, for few rows, the AMX kernel.
#pragma once

#include <thimble/core/kernels/int8/int8_gemm_avx512_vector.h>

namespace thimble::kernels {
namespace {

struct VnniVector : Avx512Vector {
  static constexpr int kRows = 12, kPanels = 2, kFewRows = 4, kManyPanels = 4;
  using Weights = __m512i;
  using Activations = __m512i;

  static Weights weights(const int8_t* p) { return _mm512_load_si512(p); }
  static Activations activations(uint32_t four) { return _mm512_set1_epi32(static_cast<int32_t>(four)); }
  // Assembly, because g++ 12 surrounds the intrinsic with register copies that cost most of its speed.
  static Sums add_products(Sums sums, Activations a, Weights w) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(a), "v"(w));
    return sums;
  }
};

}  // namespace
}  // namespace thimble::kernels
