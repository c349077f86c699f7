#include <thimble/core/kernels/int8/int8_depthwise_avx512_registers.h>
#include <thimble/core/kernels/int8/int8_depthwise_madd_avx2.h>

namespace thimble::kernels {
namespace {

struct Madd512 : Avx512Registers512 {
  static constexpr int kRows = 2;
  static Ints add_products(Ints sums, Ints words, Ints weights) {
    return in_order(_mm512_add_epi32(sums, _mm512_madd_epi16(words, weights)));
  }
};

using AllPanels = Panels<DepthwiseVector<Madd512>, DepthwiseVector<Madd256>, DepthwiseVector<Madd128>>;

}  // namespace

const Int8DepthwiseTable int8_depthwise_avx512 = DepthwiseLoops<AllPanels>::kTable;

}  // namespace thimble::kernels
