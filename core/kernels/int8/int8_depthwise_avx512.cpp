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

struct Words512 : Madd512 {
  using Pixel = __m256i;
  static Ints load_words(const uint8_t* p) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const Pixel*>(p)));
  }
  static Ints halves_of_lanes(Ints v) { return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), v); }
  static Pixel first_pixel(Ints v) { return _mm512_castsi512_si256(v); }
  static Pixel second_pixel(Ints v) { return _mm512_extracti64x4_epi64(v, 1); }
  static void store_pixel(uint8_t* p, Pixel v, int64_t count) { Avx2Registers256::store_pixel(p, v, count); }
};

using AllPanels = Panels<DepthwiseVector<Madd512>, DepthwiseWords<Words512>, DepthwiseWords<Words256>>;

}  // namespace

const Int8DepthwiseTable int8_depthwise_avx512 = DepthwiseLoops<AllPanels>::kTable;

}  // namespace thimble::kernels
