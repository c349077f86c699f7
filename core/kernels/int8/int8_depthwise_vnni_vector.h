// Depthwise sums by vpdpbusd, which adds up four neighbouring bytes at a time: those of four pixels are interleaved. In
// an anonymous namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <thimble/core/kernels/int8/int8_depthwise_loops.h>

namespace thimble::kernels {
namespace {

// R is registers of kLanes lanes of 128 bits, within which the instructions work that interleave bytes: sums come four
// by four, first those of each lane's first four channels.
template <typename R>
struct DepthwiseVnniVector {
  static constexpr int kChannels = 16 * R::kLanes, kTaps = 4;
  using Weight = int8_t;
  using Ints = typename R::Ints;
  struct Sums {
    Ints quarter[4];
  };
  using Taps = Sums;

  static constexpr int64_t channel_of(int i) {
    const int quarter = i / (4 * R::kLanes), lane = i / 4 % R::kLanes;
    return 16 * lane + 4 * quarter + i % 4;
  }

  [[gnu::always_inline]] static Sums begin(const int32_t* start) {
    constexpr int kQuarter = 4 * R::kLanes;
    return {{R::load(start), R::load(start + kQuarter), R::load(start + 2 * kQuarter), R::load(start + 3 * kQuarter)}};
  }

  template <typename At>
  [[gnu::always_inline]] static Taps taps(At&& at, int64_t count) {
    const Ints a = R::load(at(0), count), b = R::load(at(1), count), c = R::load(at(2), count),
               d = R::load(at(3), count);
    const Ints ab_low = R::low_bytes(a, b), ab_high = R::high_bytes(a, b), cd_low = R::low_bytes(c, d),
               cd_high = R::high_bytes(c, d);
    return {{R::low_pairs(ab_low, cd_low), R::high_pairs(ab_low, cd_low), R::low_pairs(ab_high, cd_high),
             R::high_pairs(ab_high, cd_high)}};
  }

  [[gnu::always_inline]] static Sums add_products(Sums sums, const Taps& taps, const Weight* weights) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q)
      sums.quarter[q] = R::add_products(sums.quarter[q], taps.quarter[q], weights + q * 16 * R::kLanes);
    return sums;
  }

  [[gnu::always_inline]] static void store(int32_t* out, const Sums& sums) {
    for (int q = 0; q < 4; ++q) R::store(out + q * 4 * R::kLanes, sums.quarter[q]);
  }

  [[gnu::always_inline]] static void finish(const Sums& sums, const DepthwiseConstants<kChannels>& k, uint8_t* out,
                                            int64_t count) {
    const auto rounded = [&](int q) __attribute__((always_inline)) {
      const int at = q * 4 * R::kLanes;
      return R::rounded(sums.quarter[q], k.multiplier + at, k.limits);
    };
    const Ints low = R::words_of(rounded(0), rounded(1), k.limits),
               high = R::words_of(rounded(2), rounded(3), k.limits);
    R::store(out, R::bytes_of(low, high, k.limits), count);
  }
};

}  // namespace
}  // namespace thimble::kernels
