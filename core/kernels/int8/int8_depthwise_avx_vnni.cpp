#include <thimble/core/kernels/int8/int8_depthwise_avx2_registers.h>
#include <thimble/core/kernels/int8/int8_depthwise_vnni_vector.h>

namespace thimble::kernels {
namespace {

struct Vnni256 : Avx2Registers256 {
  static Ints add_products(Ints sums, Ints taps, const void* weights) {
    return _mm256_dpbusd_avx_epi32(sums, taps, load(weights));
  }
};

struct Vnni128 : Avx2Registers128 {
  static Ints add_products(Ints sums, Ints taps, const void* weights) {
    return _mm_dpbusd_avx_epi32(sums, taps, load(weights));
  }
};

using AllPanels = Panels<DepthwiseVnniVector<Vnni256>, DepthwiseVnniVector<Vnni128>>;

}  // namespace

const Int8DepthwiseTable int8_depthwise_avx_vnni = DepthwiseLoops<AllPanels>::kTable;

}  // namespace thimble::kernels
