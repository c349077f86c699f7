// Panels of few channels, by pmaddwd. In an anonymous namespace for the reason given in int8_depthwise_loops.h.
//
// Of a DepthwiseVector (int8_depthwise_vector.h) half as many channels would be registers of half the width. As words,
// they are whole ones: a panel is 8 channels a lane, and two halves take the place of its quarters, the first with each
// lane's first four channels.
//
// R is as there, with words of two rows, and also has
//   Pixel                                  half a register
//   load_words(const uint8_t*)             bytes, as words
//   halves_of_lanes(Ints)                  the lower half of each lane, then the upper ones
//   first_pixel, second_pixel(Ints)
//   store_pixel(uint8_t*, Pixel, count)
#pragma once

#include <cstdint>

namespace thimble::kernels {
namespace {

template <typename R>
struct DepthwiseWords : R {
  using Ints = typename R::Ints;
  using Pixel = typename R::Pixel;
  using Weight = int16_t;
  using R::kLanes, R::kRows;
  static constexpr int kChannels = 8 * kLanes, kSums = 4 * kLanes, kQuarters = 2;
  static constexpr int kRegisterBytes = static_cast<int>(sizeof(Ints));
  static_assert(kRows == 2);

  static constexpr int64_t channel_of(int half, int sum) { return sum / 4 * 8 + half * 4 + sum % 4; }

  [[gnu::always_inline]] static void store_interleaved(const uint8_t* const (&x)[kRows], Ints* to) {
    const Ints a = R::load_words(x[0]), b = R::load_words(x[1]);
    R::store(to, R::low_words(a, b));
    R::store(to + 1, R::high_words(a, b));
  }

  // Four pixels' channels in order, from their two halves.
  [[gnu::always_inline]] static void separate(const Ints* halves, Pixel (&pixels)[4]) {
    const Ints a = R::load(halves), b = R::load(halves + 1);
    const Ints low = R::halves_of_lanes(R::low_ints(a, b)), high = R::halves_of_lanes(R::high_ints(a, b));
    pixels[0] = R::first_pixel(low);
    pixels[1] = R::second_pixel(low);
    pixels[2] = R::first_pixel(high);
    pixels[3] = R::second_pixel(high);
  }
};

}  // namespace
}  // namespace thimble::kernels
