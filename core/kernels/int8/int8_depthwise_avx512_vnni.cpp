#include <thimble/core/kernels/int8/int8_depthwise_avx512_registers.h>

namespace thimble::kernels {
namespace {

// Assembly, because g++ 12 surrounds the intrinsic with register copies that cost most of its speed.
template <typename Base>
struct Vnni : Base {
  using Ints = typename Base::Ints;
  static constexpr int kRows = 4;
  static Ints add_products(Ints sums, Ints bytes, Ints weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(bytes), "vm"(weights));
    return sums;
  }
};

using AllPanels = Panels<DepthwiseVector<Vnni<Avx512Registers512>>, DepthwiseVector<Vnni<Avx2Registers256>>,
                         DepthwiseVector<Vnni<Avx2Registers128>>>;

}  // namespace

const Int8DepthwiseTable int8_depthwise_avx512_vnni = DepthwiseLoops<AllPanels>::kTable;

}  // namespace thimble::kernels
