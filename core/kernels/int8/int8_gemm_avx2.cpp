#include <thimble/core/kernels/int8/int8_gemm_avx2_vector.h>

namespace thimble::kernels {
namespace {

// As with AVX-512, bytes are widened to 16 bits: vpmaddubsw would saturate.
struct Vector : Avx2Vector {
  static constexpr int kRows = 4, kPanels = 1, kFewRows = 1, kManyPanels = 2;
  struct Pairs {
    __m256i even, odd;
  };
  struct Weights {
    Pairs half[2];
  };
  using Activations = Pairs;

  static Weights weights(const int8_t* p) {
    const auto widen = [](__m256i w) {
      return Pairs{_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)};
    };
    return {{widen(load(p)), widen(load(p + 32))}};
  }
  static Activations activations(uint32_t four) {
    const __m256i a = _mm256_set1_epi32(static_cast<int32_t>(four));
    return {_mm256_and_si256(a, _mm256_set1_epi16(255)), _mm256_srli_epi16(a, 8)};
  }
  static Sums add_products(Sums sums, const Activations& a, const Weights& w) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const Pairs& pairs = w.half[h];
      const __m256i products =
          _mm256_add_epi32(_mm256_madd_epi16(a.even, pairs.even), _mm256_madd_epi16(a.odd, pairs.odd));
      sums.half[h] = _mm256_add_epi32(sums.half[h], products);
    }
    return sums;
  }
};

}  // namespace

void int8_gemm_avx2(const Int8GemmTask& task, const Int8GemmRange& range) { run_task<Vector>(task, range); }

}  // namespace thimble::kernels
