// The loops of int8_depthwise_rows.h, the same for every instruction set that has vectors. Included by each
// int8_depthwise_<isa>.cpp, which says what registers there are; in an anonymous namespace, so that each has its own
// copy, compiled for its instruction set. Vectors are described in int8_depthwise_vector.h, the ways through an image
// in int8_depthwise_panel.h.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/int8/int8_depthwise_panel.h>
#include <thimble/core/kernels/int8/int8_depthwise_rows.h>

namespace thimble::kernels {
namespace {

// f.operator()<V>(first, count) for panels that cover the channels: of the widest vectors, then one of the narrowest
// that hold what is left. It begins early enough to be whole, and some channels are computed twice, unless there are
// too few.
template <typename... Vs>
struct Panels;

template <typename V, typename... Narrower>
struct Panels<V, Narrower...> {
  static constexpr int64_t kWidest = V::kChannels;
  static_assert(V::kChannels <= kWidestDepthwisePanel);

  template <typename F>
  static void for_each(int64_t channels, F&& f) {
    int64_t first = 0;
    for (; channels - first >= kWidest; first += kWidest) f.template operator()<V>(first, kWidest);
    if (first < channels) last(channels, channels - first, f);
  }

  template <typename F>
  static void last(int64_t channels, int64_t left, F&& f) {
    if constexpr (sizeof...(Narrower) > 0)
      if (left <= Panels<Narrower...>::kWidest) return Panels<Narrower...>::last(channels, left, f);
    const int64_t count = channels < kWidest ? channels : kWidest;
    f.template operator()<V>(channels - count, count);
  }
};

template <typename AllPanels>
struct DepthwiseLoops {
  static int64_t packed_bytes(const Int8DepthwiseShape& s) {
    int64_t bytes = 0;
    AllPanels::for_each(s.channels, [&]<typename V>(int64_t, int64_t) { bytes += DepthwisePanel<V>::weight_bytes(s); });
    return bytes;
  }

  static int64_t scratch_bytes(const Int8DepthwiseShape& s) {
    int64_t most = 0;
    AllPanels::for_each(s.channels, [&]<typename V>(int64_t, int64_t) {
      const int64_t bytes = DepthwisePanel<V>::scratch_bytes(s);
      if (bytes > most) most = bytes;
    });
    return most;
  }

  static void pack(const Int8DepthwiseShape& s, const int8_t* weight, void* packed) {
    auto* to = static_cast<char*>(packed);
    AllPanels::for_each(s.channels, [&]<typename V>(int64_t first, int64_t count) {
      DepthwisePanel<V>::pack(s, weight + first * s.rows.taps * s.columns.taps, count, to);
      to += DepthwisePanel<V>::weight_bytes(s);
    });
  }

  static void run(const Int8DepthwiseTask& t) {
    const auto* weights = static_cast<const char*>(t.weights);
    AllPanels::for_each(t.shape.channels, [&]<typename V>(int64_t first, int64_t count) {
      const DepthwisePanel<V> panel(t, first, count, weights);
      panel.run();
      weights += panel.weight_bytes();
    });
  }

  static constexpr Int8DepthwiseTable kTable{packed_bytes, scratch_bytes, pack, run};
};

}  // namespace
}  // namespace thimble::kernels
