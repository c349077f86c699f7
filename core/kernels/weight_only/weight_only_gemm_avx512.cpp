#include <immintrin.h>

#include <thimble/core/kernels/weight_only/weight_only_gemm_pairs.h>

namespace thimble::kernels {
namespace {

struct Dot : PairPlanes {
  static constexpr int kWidth = 16, kFewSums = 8, kManySums = 12, kSums = 1;
  using Bytes = __m512i;
  using Sum = __m512i;
  struct Pairs {
    __m512i even, odd;
  };
  using Weights = Pairs;
  using Activations = Pairs;

  static Sum zero() { return _mm512_setzero_si512(); }
  static Sum sum(Sum a, Sum b) { return _mm512_add_epi32(a, b); }
  static Bytes load(const uint8_t* p) { return _mm512_load_si512(p); }
  static Bytes masked(Bytes b, uint8_t mask) { return _mm512_and_si512(b, _mm512_set1_epi8(static_cast<char>(mask))); }
  static Bytes shifted(Bytes b, int n) { return _mm512_srli_epi16(b, static_cast<unsigned>(n)); }
  static Weights weights(Bytes b) { return {_mm512_and_si512(b, _mm512_set1_epi16(255)), _mm512_srli_epi16(b, 8)}; }
  static Activations activations(const uint8_t* even, const uint8_t* odd) {
    return {_mm512_set1_epi32(pair(even)), _mm512_set1_epi32(pair(odd))};
  }
  static Sum add_products(int, Sum sums, const Weights& w, const Activations& a) {
    const __m512i products = _mm512_add_epi32(_mm512_madd_epi16(a.even, w.even), _mm512_madd_epi16(a.odd, w.odd));
    return _mm512_add_epi32(sums, products);
  }
  static Ints<Dot> total(const Sum (&sums)[1]) { return {{(Vector<int32_t, 16>)sums[0]}}; }
};

}  // namespace

void weight_only_rows_avx512(const WeightOnlyTask& task, int64_t begin, int64_t end) {
  quantize_rows<Dot>(task, begin, end);
}

void weight_only_gemm_avx512(const WeightOnlyTask& task, const WeightOnlyRange& range) { run_task<Dot>(task, range); }

}  // namespace thimble::kernels
