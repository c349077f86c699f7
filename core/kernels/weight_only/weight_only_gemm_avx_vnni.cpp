#include <thimble/core/kernels/weight_only/weight_only_gemm_halves.h>

namespace thimble::kernels {
namespace {

// Fixed-point numbers as two bytes, as with AVX512-VNNI.
struct Dot : HalfPanels {
  static constexpr int kWidth = 8, kFewSums = 2, kManySums = 2, kSums = 2;
  static constexpr bool kCumulative = true;
  using Weights = Halves;
  struct Activations {
    __m256i high, low;
  };

  static Weights weights(const Bytes& b) { return b; }
  static void split(const int32_t* q, int64_t n, uint8_t* high, uint8_t* low) {
    for (int64_t i = 0; i < n; ++i) {
      high[i] = static_cast<uint8_t>((q[i] + 128) >> 8);
      low[i] = static_cast<uint8_t>(q[i]);
    }
  }
  static __m256i four(const uint8_t* p) {
    int32_t bytes;
    std::memcpy(&bytes, p, 4);
    return _mm256_set1_epi32(bytes);
  }
  static Activations activations(const uint8_t* high, const uint8_t* low) { return {four(high), four(low)}; }
  // Assembly, because g++ 12 surrounds the intrinsic with register copies. {vex}: without it, it is AVX-512's.
  static __m256i dot(__m256i sums, __m256i a, __m256i w) {
    asm("%{vex%} vpdpbusd %1, %2, %0" : "+x"(sums) : "x"(a), "x"(w));
    return sums;
  }
  static Sum add_products(int i, const Sum& sums, const Weights& w, const Activations& a) {
    return both([&](int h) { return dot(sums.half[h], i == 0 ? a.high : a.low, w.half[h]); });
  }
  static Ints<Dot> total(const Sum (&sums)[2]) {
    const Sum all =
        both([&](int h) { return _mm256_add_epi32(_mm256_slli_epi32(sums[0].half[h], 8), sums[1].half[h]); });
    return {{(Vector<int32_t, 8>)all.half[0], (Vector<int32_t, 8>)all.half[1]}};
  }
};

}  // namespace

void weight_only_rows_avx_vnni(const WeightOnlyTask& task, int64_t begin, int64_t end) {
  quantize_rows<Dot>(task, begin, end);
}

void weight_only_gemm_avx_vnni(const WeightOnlyTask& task, const WeightOnlyRange& range) { run_task<Dot>(task, range); }

}  // namespace thimble::kernels
