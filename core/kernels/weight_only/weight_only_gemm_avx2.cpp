#include <thimble/core/kernels/weight_only/weight_only_gemm_halves.h>
#include <thimble/core/kernels/weight_only/weight_only_gemm_pairs.h>

namespace thimble::kernels {
namespace {

struct Dot : PairPlanes, HalfPanels {
  static constexpr int kWidth = 8, kFewSums = 4, kManySums = 4, kSums = 1;
  struct Activations {
    __m256i even, odd;
  };
  struct Weights {
    Activations half[2];
  };

  static Bytes shifted(const Bytes& b, int n) {
    return both([&](int h) { return _mm256_srli_epi16(b.half[h], n); });
  }
  static Weights weights(const Bytes& b) {
    const auto widen = [](__m256i bytes) {
      return Activations{_mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srli_epi16(bytes, 8)};
    };
    return {{widen(b.half[0]), widen(b.half[1])}};
  }
  static Activations activations(const uint8_t* even, const uint8_t* odd) {
    return {_mm256_set1_epi32(pair(even)), _mm256_set1_epi32(pair(odd))};
  }
  static Sum add_products(int, const Sum& sums, const Weights& w, const Activations& a) {
    return both([&](int h) {
      const __m256i products =
          _mm256_add_epi32(_mm256_madd_epi16(a.even, w.half[h].even), _mm256_madd_epi16(a.odd, w.half[h].odd));
      return _mm256_add_epi32(sums.half[h], products);
    });
  }
  static Ints<Dot> total(const Sum (&sums)[1]) {
    return {{(Vector<int32_t, 8>)sums[0].half[0], (Vector<int32_t, 8>)sums[0].half[1]}};
  }
};

}  // namespace

void weight_only_rows_avx2(const WeightOnlyTask& task, int64_t begin, int64_t end) {
  quantize_rows<Dot>(task, begin, end);
}

void weight_only_gemm_avx2(const WeightOnlyTask& task, const WeightOnlyRange& range) { run_task<Dot>(task, range); }

}  // namespace thimble::kernels
