#include <immintrin.h>

#include <thimble/core/kernels/int8/uint8_avx2_vector.h>
#include <thimble/core/kernels/int8/uint8_vector_loops.h>

namespace thimble::kernels {

namespace {

struct Avx512Bytes {
  static constexpr int kFloats = 16;
  using Floats = __m512;
  using Words = __m512i;
  struct Totals {
    __m512i low, high;
  };

  static Floats broadcast(float v) { return _mm512_set1_ps(v); }
  static Floats larger(Floats x, Floats y) { return _mm512_max_ps(x, y); }
  static Floats smaller(Floats x, Floats y) { return _mm512_min_ps(x, y); }
  // Each quarter of a register gives a quarter to each of the four: packing puts them back.
  static void load_bytes(const uint8_t* p, Floats* f) {
    const __m512i bytes = _mm512_loadu_si512(p);
    const __m512i zero = _mm512_setzero_si512(), of_byte = _mm512_set1_epi16(0x4b00);  // the upper half of 2^23
    const __m512i low = _mm512_unpacklo_epi8(bytes, zero), high = _mm512_unpackhi_epi8(bytes, zero);
    f[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low, of_byte));
    f[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low, of_byte));
    f[2] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(high, of_byte));
    f[3] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(high, of_byte));
  }
  template <typename Range>
  static void store_bytes(const Floats* f, const Range& range, uint8_t* p) {
    const __m512i zero = _mm512_set1_epi16(static_cast<int16_t>(range.zero_point));
    const auto words = [=](int i) __attribute__((always_inline)) {
      const __m512i both = _mm512_packs_epi32(_mm512_cvtps_epi32(f[i]), _mm512_cvtps_epi32(f[i + 1]));
      return _mm512_adds_epi16(both, zero);
    };
    const __m512i bytes = _mm512_packus_epi16(words(0), words(2));
    const __m512i above = _mm512_max_epu8(bytes, _mm512_set1_epi8(static_cast<int8_t>(range.low)));
    const __m512i kept = _mm512_min_epu8(above, _mm512_set1_epi8(static_cast<int8_t>(range.high)));
    _mm512_storeu_si512(p, kept);
  }

  static Words add_bytes(Words words, const uint8_t* p) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_add_epi16(words, _mm512_cvtepu8_epi16(bytes));
  }
  static Totals add_words(Totals totals, Words words) {
    return {_mm512_add_epi32(totals.low, _mm512_cvtepu16_epi32(_mm512_castsi512_si256(words))),
            _mm512_add_epi32(totals.high, _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1)))};
  }
  static void store(Totals totals, uint32_t* p) {
    _mm512_storeu_si512(p, totals.low);
    _mm512_storeu_si512(p + kFloats, totals.high);
  }
  static void store_means(Totals totals, Floats count, uint8_t* p) {
    const auto store_half = [=](__m512i sums, uint8_t * to) __attribute__((always_inline)) {
      const __m512i means = _mm512_cvtps_epi32(_mm512_div_ps(_mm512_cvtepi32_ps(sums), count));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(means));
    };
    store_half(totals.low, p);
    store_half(totals.high, p + kFloats);
  }
};

// The table as 128 words, of which two registers hold 64, and an index that picks one of them, then one of its bytes.
// (vpermi2b, of AVX-512 VBMI, would do with half of the instructions; the second level cache is about as slow as this.)
struct WordTable {
  __m512i first, second, third, fourth;

  explicit WordTable(const uint8_t* table)
      : first(_mm512_loadu_si512(table)),
        second(_mm512_loadu_si512(table + 64)),
        third(_mm512_loadu_si512(table + 128)),
        fourth(_mm512_loadu_si512(table + 192)) {}

  // The entries that words of 0 to 255 mean, in their low bytes.
  [[gnu::always_inline]] __m512i look_up(__m512i index) const {
    const __m512i place = _mm512_srli_epi16(index, 1);
    const __m512i low = _mm512_permutex2var_epi16(first, place, second);
    const __m512i high = _mm512_permutex2var_epi16(third, place, fourth);
    const __mmask32 is_high = _mm512_test_epi16_mask(index, _mm512_set1_epi16(128));
    const __m512i bits = _mm512_and_si512(_mm512_slli_epi16(index, 3), _mm512_set1_epi16(8));
    return _mm512_srlv_epi16(_mm512_mask_blend_epi16(is_high, low, high), bits);
  }
};

void look_up_in_words(const uint8_t* x, int64_t n, const uint8_t* table, uint8_t* out) {
  const WordTable words(table);
  const __m512i low_byte = _mm512_set1_epi16(255);
  const __mmask64 odd = 0xaaaaaaaaaaaaaaaa;
  const auto look_up = [&](__m512i v) __attribute__((always_inline)) {
    const __m512i even_bytes = words.look_up(_mm512_and_si512(v, low_byte));
    const __m512i odd_bytes = _mm512_slli_epi16(words.look_up(_mm512_srli_epi16(v, 8)), 8);
    return _mm512_mask_blend_epi8(odd, even_bytes, odd_bytes);
  };
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) _mm512_storeu_si512(out + i, look_up(_mm512_loadu_si512(x + i)));
  if (i == n) return;
  const __mmask64 rest = ~__mmask64{0} >> (64 - (n - i));
  _mm512_mask_storeu_epi8(out + i, rest, look_up(_mm512_maskz_loadu_epi8(rest, x + i)));
}

// Of fewer channels than a register's.
bool are_few(int64_t channels) { return channels < 2 * Avx512Bytes::kFloats; }

void sum_pixels(const Uint8Window& window, int64_t channels, uint32_t* sums) {
  are_few(channels) ? sum_in_vectors<Avx2Bytes>(window, channels, sums)
                    : sum_in_vectors<Avx512Bytes>(window, channels, sums);
}

void mean_pixels(const Uint8Window& window, int64_t channels, uint8_t* out) {
  are_few(channels) ? mean_in_vectors<Avx2Bytes>(window, channels, out)
                    : mean_in_vectors<Avx512Bytes>(window, channels, out);
}

}  // namespace

const Uint8Kernels uint8_avx512{look_up_in_words,
                                clamp_each,
                                add_in_vectors<Avx512Bytes>,
                                maximum_in_vectors<Avx512Bytes>,
                                minimum_in_vectors<Avx512Bytes>,
                                mul_in_vectors<Avx512Bytes>,
                                sum_pixels,
                                mean_pixels};

}  // namespace thimble::kernels
