// How the taps of a row of depthwise outputs are added up, and what sums become. In an anonymous namespace for the
// reason given in int8_depthwise_loops.h.
#pragma once

#include <thimble/core/kernels/int8/int8_depthwise_plan.h>

namespace thimble::kernels {
namespace {

// Sums of kBlock outputs side by side, of a quarter. Groups of columns lie group_step registers apart, and so do their
// weights, [groups][taps].
//
// For taps, strides and groups that are known when compiling:
template <typename V, int kTaps, int kStride, int kGroups>
struct KnownTaps {
  using Ints = typename V::Ints;
  static constexpr bool kIsBounded = true;
  static constexpr int64_t stride(const Int8DepthwiseShape&) { return kStride; }

  [[gnu::always_inline]] static void sum(const Int8DepthwiseShape&, int64_t, const Ints* columns, int64_t group_step,
                                         const Ints* weights, Ints (&sums)[kBlock]) {
    // Weights that are more than registers can hold are loaded for each block.
    if constexpr (kGroups * kTaps > 12) asm("" : "+r"(weights));
    const Ints* of_group = columns;
#pragma GCC unroll 4
    for (int group = 0; group < kGroups; ++group) {
      // Each group has sums of its own, or one product would wait for another.
      Ints weight[kTaps], own[kBlock] = {};
#pragma GCC unroll 8
      for (int tap = 0; tap < kTaps; ++tap) weight[tap] = V::load(weights + group * kTaps + tap);
#pragma GCC unroll 16
      for (int column = 0; column < (kBlock - 1) * kStride + kTaps; ++column) {
        const Ints x = V::load(of_group + column * V::kQuarters);
#pragma GCC unroll 4
        for (int p = 0; p < kBlock; ++p) {
          const int tap = column - p * kStride;
          if (tap < 0 || tap >= kTaps) continue;
          Ints& sum = V::kRows == 4 && group > 0 ? own[p] : sums[p];
          sum = V::add_products(sum, x, weight[tap]);
        }
      }
      if (V::kRows == 4 && group > 0)
#pragma GCC unroll 4
        for (int p = 0; p < kBlock; ++p) sums[p] = V::add_ints(sums[p], own[p]);
      of_group += group_step;
      asm("" : "+r"(of_group));  // or g++ keeps the distance of each column, in memory
    }
  }
};

// For any.
template <typename V>
struct AnyTaps {
  using Ints = typename V::Ints;
  static constexpr bool kIsBounded = false;
  static int64_t stride(const Int8DepthwiseShape& s) { return s.columns.stride; }

  [[gnu::always_inline]] static void sum(const Int8DepthwiseShape& s, int64_t groups, const Ints* columns,
                                         int64_t group_step, const Ints* weights, Ints (&sums)[kBlock]) {
    const int64_t stride = s.columns.stride * V::kQuarters;
    for (int64_t group = 0; group < groups; ++group)
      for (int64_t tap = 0; tap < s.columns.taps; ++tap, ++weights) {
        const Ints* at = columns + group * group_step + tap * s.columns.dilation * V::kQuarters;
        const Ints weight = V::load(weights);
#pragma GCC unroll 4
        for (int p = 0; p < kBlock; ++p) sums[p] = V::add_products(sums[p], V::load(at + p * stride), weight);
      }
  }
};

// f.operator()<Taps>() for how the taps of rows of outputs are added up.
template <typename V, typename F>
void with_taps_of(const Int8DepthwiseShape& s, bool is_bounded, F&& f) {
  const int64_t used = RowGroups<V>(s.rows).used;
  const auto are = [&](int64_t taps, int64_t stride, int64_t groups) {
    return is_bounded && s.columns.taps == taps && s.columns.stride == stride && s.columns.dilation == 1 &&
           used == groups;
  };
  if constexpr (V::kRows == 2) {  // others have a way of their own for 3x3
    if (are(3, 1, 2)) return f.template operator()<KnownTaps<V, 3, 1, 2>>();
    if (are(3, 2, 2)) return f.template operator()<KnownTaps<V, 3, 2, 2>>();
  }
  constexpr int kOf5 = V::kRows == 4 ? 2 : 3;
  if (are(5, 1, kOf5)) return f.template operator()<KnownTaps<V, 5, 1, kOf5>>();
  if (are(5, 2, kOf5)) return f.template operator()<KnownTaps<V, 5, 2, kOf5>>();
  f.template operator()<AnyTaps<V>>();
}

// Makes sums bytes. Sums times multipliers of what is bounded are in the range of int32.
template <typename V, bool kIsBounded>
class DepthwiseResults {
 public:
  using Ints = typename V::Ints;
  using Floats = typename V::Floats;

  explicit DepthwiseResults(const Int8DepthwiseTask& t)
      : high_(V::all(t.high)),
        zero_points_(V::all_words(static_cast<int16_t>(t.zero_point))),
        lowest_(V::all_bytes(static_cast<uint8_t>(static_cast<int32_t>(t.low) + t.zero_point))),
        highest_(V::all_bytes(static_cast<uint8_t>(static_cast<int32_t>(t.high) + t.zero_point))) {}

  // Of four registers, whose bytes come four by four from each.
  [[gnu::always_inline]] Ints operator()(const Ints (&sums)[4], const Floats (&multipliers)[4]) const {
    const Ints low = V::words_of(rounded(sums[0], multipliers[0]), rounded(sums[1], multipliers[1])),
               high = V::words_of(rounded(sums[2], multipliers[2]), rounded(sums[3], multipliers[3]));
    const Ints bytes = V::bytes_of(V::add_words(low, zero_points_), V::add_words(high, zero_points_));
    return V::larger_bytes(V::smaller_bytes(bytes, highest_), lowest_);
  }

 private:
  [[gnu::always_inline]] Ints rounded(Ints sums, Floats multiplier) const {
    const Floats scaled = V::scaled(sums, multiplier);
    if constexpr (kIsBounded)
      return V::rounded(scaled);
    else
      return V::rounded(V::smaller_floats(scaled, high_));
  }

  Floats high_;
  Ints zero_points_, lowest_, highest_;
};

}  // namespace
}  // namespace thimble::kernels
