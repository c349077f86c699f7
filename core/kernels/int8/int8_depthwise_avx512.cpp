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
  static void store_words(uint8_t* p, Ints v, const DepthwiseLimits& l, int64_t count) {
    const __m256i bytes = _mm512_cvtusepi16_epi8(_mm512_max_epi16(v, _mm512_setzero_si512()));
    Avx2Registers256::store(p, _mm256_max_epu8(bytes, _mm256_set1_epi8(static_cast<char>(l.lowest))), count);
  }
};

using AllPanels = Panels<DepthwiseMaddVector<Madd512>, DepthwiseMaddVector<Madd256>>;

}  // namespace

const Int8DepthwiseTable int8_depthwise_avx512 = DepthwiseLoops<AllPanels>::kTable;

}  // namespace thimble::kernels
