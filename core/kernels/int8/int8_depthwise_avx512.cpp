#include <thimble/core/kernels/int8/int8_depthwise_avx512_registers.h>
#include <thimble/core/kernels/int8/int8_depthwise_madd_avx2.h>

namespace thimble::kernels {
namespace {

struct Madd512 : Avx512Registers512 {
  static Ints load_words(const uint8_t* p) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Ints add_word_products(Ints sums, Ints taps, const int16_t* weights) {
    return _mm512_add_epi32(sums, _mm512_madd_epi16(taps, load(weights)));
  }
  static Ints words_of(Ints a, Ints b) { return _mm512_packs_epi32(a, b); }
  static void store_words(uint8_t* p, Ints v, int64_t) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi16_epi8(v));
  }
};

using AllPanels = Panels<DepthwiseMaddVector<Madd512>, DepthwiseMaddVector<Madd256>>;

}  // namespace

const Int8DepthwiseTable int8_depthwise_avx512 = DepthwiseLoops<AllPanels>::kTable;

}  // namespace thimble::kernels
