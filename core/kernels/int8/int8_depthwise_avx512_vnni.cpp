#include <thimble/core/kernels/int8/int8_depthwise_avx512_registers.h>
#include <thimble/core/kernels/int8/int8_depthwise_vnni_vector.h>

namespace thimble::kernels {
namespace {

// Assembly, because g++ 12 surrounds the intrinsic with register copies that cost most of its speed.
template <typename Base>
struct Vnni : Base {
  using Ints = typename Base::Ints;
  static Ints add_products(Ints sums, Ints taps, const void* weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(taps), "m"(*static_cast<const Ints*>(weights)));
    return sums;
  }
};

using AllPanels = Panels<DepthwiseVnniVector<Vnni<Avx512Registers512>>, DepthwiseVnniVector<Vnni<Avx2Registers256>>,
                         DepthwiseVnniVector<Vnni<Avx2Registers128>>>;

}  // namespace

const Int8DepthwiseTable int8_depthwise_avx512_vnni = DepthwiseLoops<AllPanels>::kTable;

}  // namespace thimble::kernels
