#include <thimble/core/kernels/int8/int8_depthwise_avx2_registers.h>

namespace thimble::kernels {
namespace {

struct Vnni256 : Avx2Registers256 {
  static constexpr int kRows = 4;
  static Ints add_products(Ints sums, Ints bytes, Ints weights) {
    return _mm256_dpbusd_avx_epi32(sums, bytes, weights);
  }
};

struct Vnni128 : Avx2Registers128 {
  static constexpr int kRows = 4;
  static Ints add_products(Ints sums, Ints bytes, Ints weights) { return _mm_dpbusd_avx_epi32(sums, bytes, weights); }
};

using AllPanels = Panels<DepthwiseVector<Vnni256>, DepthwiseVector<Vnni128>>;

}  // namespace

const Int8DepthwiseTable int8_depthwise_avx_vnni = DepthwiseLoops<AllPanels>::kTable;

}  // namespace thimble::kernels
