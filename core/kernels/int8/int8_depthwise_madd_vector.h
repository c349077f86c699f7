// Depthwise sums by pmaddwd, which adds up two neighbouring products of 16 bits: what of 8 bits does that can saturate.
// In an anonymous namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <thimble/core/kernels/int8/int8_depthwise_loops.h>

namespace thimble::kernels {
namespace {

// R is registers of kLanes lanes of 128 bits, eight words each, within which the instructions work that interleave
// words: sums come four by four, first those of each lane's first four channels.
template <typename R>
struct DepthwiseMaddVector {
  static constexpr int kChannels = 8 * R::kLanes, kTaps = 2;
  using Weight = int16_t;
  using Ints = typename R::Ints;
  struct Sums {
    Ints half[2];
  };
  using Taps = Sums;

  static constexpr int64_t channel_of(int i) {
    const int half = i / (4 * R::kLanes), lane = i / 4 % R::kLanes;
    return 8 * lane + 4 * half + i % 4;
  }

  [[gnu::always_inline]] static Sums begin(const int32_t* start) {
    return {{R::load(start), R::load(start + 4 * R::kLanes)}};
  }

  template <typename At>
  [[gnu::always_inline]] static Taps taps(At&& at, int64_t) {
    const Ints a = R::load_words(at(0)), b = R::load_words(at(1));
    return {{R::low_pairs(a, b), R::high_pairs(a, b)}};
  }

  [[gnu::always_inline]] static Sums add_products(Sums sums, const Taps& taps, const Weight* weights) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h)
      sums.half[h] = R::add_word_products(sums.half[h], taps.half[h], weights + h * kChannels);
    return sums;
  }

  [[gnu::always_inline]] static void store(int32_t* out, const Sums& sums) {
    for (int h = 0; h < 2; ++h) R::store(out + h * 4 * R::kLanes, sums.half[h]);
  }

  [[gnu::always_inline]] static void finish(const Sums& sums, const DepthwiseConstants<kChannels>& k, uint8_t* out,
                                            int64_t count) {
    constexpr int kHalf = 4 * R::kLanes;
    R::store_words(out,
                   R::words_of(R::rounded(sums.half[0], k.multiplier, k.limits),
                               R::rounded(sums.half[1], k.multiplier + kHalf, k.limits), k.limits),
                   k.limits, count);
  }
};

}  // namespace
}  // namespace thimble::kernels
