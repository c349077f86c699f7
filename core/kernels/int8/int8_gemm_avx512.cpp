#include <thimble/core/kernels/int8/int8_gemm_avx512_vector.h>

namespace thimble::kernels {
namespace {

// Bytes are widened to 16 bits, even and odd ones apart, and multiplied in pairs: vpmaddubsw would be one instruction,
// but it saturates its 16-bit sums.
struct Vector : Avx512Vector {
  static constexpr int kRows = 8, kPanels = 2, kFewRows = 2, kManyPanels = 4;
  struct Pairs {
    __m512i even, odd;
  };
  using Weights = Pairs;
  using Activations = Pairs;

  static Weights weights(const int8_t* p) {
    const __m512i w = _mm512_load_si512(p);
    return {_mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), _mm512_srai_epi16(w, 8)};
  }
  static Activations activations(uint32_t four) {
    const __m512i a = _mm512_set1_epi32(static_cast<int32_t>(four));
    return {_mm512_and_si512(a, _mm512_set1_epi16(255)), _mm512_srli_epi16(a, 8)};
  }
  static Sums add_products(Sums sums, const Activations& a, const Weights& w) {
    const __m512i products = _mm512_add_epi32(_mm512_madd_epi16(a.even, w.even), _mm512_madd_epi16(a.odd, w.odd));
    return _mm512_add_epi32(sums, products);
  }
};

}  // namespace

void int8_gemm_avx512(const Int8GemmTask& task, const Int8GemmRange& range) { run_task<Vector>(task, range); }

}  // namespace thimble::kernels
