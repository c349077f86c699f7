#include <thimble/core/kernels/int8/int8_gemm_avx2_vector.h>

namespace thimble::kernels {
namespace {

struct Vector : Avx2Vector {
  static constexpr int kRows = 6, kPanels = 1, kFewRows = 1, kManyPanels = 3;
  struct Weights {
    __m256i half[2];
  };
  using Activations = __m256i;

  static Weights weights(const int8_t* p) { return {{load(p), load(p + 32)}}; }
  static Activations activations(uint32_t four) { return _mm256_set1_epi32(static_cast<int32_t>(four)); }
  static Sums add_products(Sums sums, Activations a, const Weights& w) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) sums.half[h] = _mm256_dpbusd_avx_epi32(sums.half[h], a, w.half[h]);
    return sums;
  }
};

}  // namespace

void int8_gemm_avx_vnni(const Int8GemmTask& task, const Int8GemmRange& range) { run_task<Vector>(task, range); }

}  // namespace thimble::kernels
