// What depthwise sums do with registers. In an anonymous namespace for the reason given in int8_depthwise_loops.h.
//
// The instructions that multiply bytes or words add up neighbours: here those of a group of rows of a column, which are
// made neighbours by interleaving the rows' channels. Instructions that interleave work within lanes of 128 bits. So a
// panel of kChannels, 16 a lane, becomes four quarters: the first has each lane's first four channels, and so on. A
// quarter's sums are a register of int32.
//
// R is registers of kLanes lanes, and has
//   Ints, Floats, kLanes
//   kRows                                  of a group: 4 of bytes, or 2 of words
//   load, store                            of a whole register, aligned
//   load_pixel(const uint8_t*), store_pixel(uint8_t*, Ints, count)
//   low_bytes, high_bytes, low_words, high_words, low_ints, high_ints, low_halves, high_halves     interleave two
//   add_products(Ints sums, Ints group, Ints weights)
//   all(float), all_words(int16_t), all_bytes(uint8_t), load_floats
//   scaled(Ints sums, Floats multiplier), smaller_floats
//   rounded(Floats)                        what is outside of int32 becomes its smallest number
//   add_ints; words_of(Ints, Ints), bytes_of(Ints, Ints), add_words, which saturate
//   smaller_bytes, larger_bytes
#pragma once

#include <cstdint>
#include <type_traits>

namespace thimble::kernels {
namespace {

template <typename R>
struct DepthwiseVector : R {
  using Ints = typename R::Ints;
  using Pixel = Ints;
  using R::kLanes, R::kRows;
  using Weight = std::conditional_t<kRows == 4, int8_t, int16_t>;
  static constexpr int kChannels = 16 * kLanes, kSums = 4 * kLanes, kQuarters = 4;
  static constexpr int kRegisterBytes = static_cast<int>(sizeof(Ints));

  static constexpr int64_t channel_of(int quarter, int sum) { return sum / 4 * 16 + quarter * 4 + sum % 4; }

  // The quarters of a column of a group, whose rows' pixels begin at x.
  [[gnu::always_inline]] static void interleave(const uint8_t* const (&x)[kRows], Ints (&quarters)[kQuarters]) {
    const Ints a = R::load_pixel(x[0]), b = R::load_pixel(x[1]);
    const Ints low = R::low_bytes(a, b), high = R::high_bytes(a, b);
    if constexpr (kRows == 4) {
      const Ints c = R::load_pixel(x[2]), d = R::load_pixel(x[3]);
      const Ints lower_low = R::low_bytes(c, d), lower_high = R::high_bytes(c, d);
      quarters[0] = R::low_words(low, lower_low);
      quarters[1] = R::high_words(low, lower_low);
      quarters[2] = R::low_words(high, lower_high);
      quarters[3] = R::high_words(high, lower_high);
    } else {
      const Ints zero = R::all_bytes(0);
      quarters[0] = R::low_bytes(low, zero);
      quarters[1] = R::high_bytes(low, zero);
      quarters[2] = R::low_bytes(high, zero);
      quarters[3] = R::high_bytes(high, zero);
    }
  }
  [[gnu::always_inline]] static void store_interleaved(const uint8_t* const (&x)[kRows], Ints* to) {
    Ints quarters[kQuarters];
    interleave(x, quarters);
#pragma GCC unroll 4
    for (int q = 0; q < kQuarters; ++q) R::store(to + q, quarters[q]);
  }

  // Four pixels' channels in order, from their four quarters, each of which has four channels of one pixel after the
  // other in a lane.
  [[gnu::always_inline]] static void separate(const Ints* quarters, Ints (&pixels)[4]) {
    const Ints a = R::load(quarters), b = R::load(quarters + 1), c = R::load(quarters + 2), d = R::load(quarters + 3);
    const Ints ab_low = R::low_ints(a, b), ab_high = R::high_ints(a, b), cd_low = R::low_ints(c, d),
               cd_high = R::high_ints(c, d);
    pixels[0] = R::low_halves(ab_low, cd_low);
    pixels[1] = R::high_halves(ab_low, cd_low);
    pixels[2] = R::low_halves(ab_high, cd_high);
    pixels[3] = R::high_halves(ab_high, cd_high);
  }
};

}  // namespace
}  // namespace thimble::kernels
