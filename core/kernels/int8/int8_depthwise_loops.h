// The loops of int8_depthwise_rows.h, the same for every instruction set. Included by each int8_depthwise_<isa>.cpp,
// which says what vectors V there are; in an anonymous namespace, so that each has its own copy, compiled for its
// instruction set.
//
// V is kChannels channels wide and adds up kTaps taps at once, which are neighbours in a row and lie side by side in
// its registers. So two pixels of a row can be given the same registers, with weights that are shifted by a tap and
// have zeros where a pixel does not see one. V has
//   kChannels, kTaps
//   Weight                                 int8_t or int16_t
//   channel_of(i)                          of the i-th sum; four in a row belong to neighbours
//   Sums, Taps
//   begin(const int32_t*)                  kChannels numbers, aligned to 64 bytes
//   add_products(Sums, Taps, const Weight*)     weights are [kChannels][kTaps], in the order of the sums
//   taps(f, count)                         of kTaps pixels, f(i) the address of the i-th; only `count` channels exist
//   store(int32_t*, Sums)
//   finish(Sums, const DepthwiseConstants&, uint8_t* out, count)
#pragma once

#include <cstdint>
#include <cstring>

#include <thimble/core/kernels/int8/int8_depthwise_rows.h>
#include <thimble/core/kernels/int8/int8_depthwise_windows.h>

namespace thimble::kernels {
namespace {

struct DepthwiseLimits {
  float low, high;
  int32_t zero_point;
  int32_t lowest;  // result
  // The same for a register of 256 bits: those who have few of them read it from here.
  alignas(32) int16_t zero_points[16];
  alignas(32) uint8_t lowest_results[32];

  explicit DepthwiseLimits(const Int8DepthwiseTask& t)
      : low(t.low),
        high(t.high),
        zero_point(t.zero_point),
        lowest(t.float_out ? 0 : static_cast<int32_t>(low) + zero_point) {
    for (int16_t& z : zero_points) z = static_cast<int16_t>(zero_point);
    for (uint8_t& l : lowest_results) l = static_cast<uint8_t>(lowest);
  }
};

// A panel's parameters, in the order of the sums.
template <int kChannels>
struct DepthwiseConstants {
  alignas(64) int32_t bias[kChannels];
  alignas(64) int32_t start[kChannels];  // what sums begin with: the bias if results are uint8
  alignas(64) float multiplier[kChannels];
  DepthwiseLimits limits;
};

// Fills the numbers of a panel, of which `count` exist; four in a row belong to neighbours.
template <typename V, typename T>
void reorder_channels(const T* from, int64_t count, T (&to)[V::kChannels]) {
  for (int i = 0; i < V::kChannels; i += 4) {
    const int64_t channel = V::channel_of(i);
    if (channel + 4 <= count)
      std::memcpy(to + i, from + channel, 4 * sizeof(T));
    else
      for (int j = 0; j < 4; ++j) to[i + j] = channel + j < count ? from[channel + j] : T{0};
  }
}

// What a step of kOutputs pixels side by side computes: kColumns taps each, their windows kStride taps apart.
template <typename V, int kColumns, int kStride, int kOutputs>
struct Step {
  static constexpr int kPixels = (kOutputs - 1) * kStride + kColumns;
  static constexpr int kGroups = (kPixels + V::kTaps - 1) / V::kTaps;

  // Whether an output sees one of the pixels of a group.
  static constexpr bool sees(int output, int group) {
    return group * V::kTaps < output * kStride + kColumns && (group + 1) * V::kTaps > output * kStride;
  }
  // Groups of weights for a row of taps.
  static constexpr int groups_of_weights() {
    int count = 0;
    for (int g = 0; g < kGroups; ++g)
      for (int p = 0; p < kOutputs; ++p) count += sees(p, g) ? 1 : 0;
    return count;
  }
};

// The i-th group of weights of `taps` values, of which that for pixel j of the group is number first + j.
template <typename V, typename At>
void pack_group(int64_t first, int64_t columns, int64_t count, At&& at, typename V::Weight* packed) {
  for (int i = 0; i < V::kChannels; ++i)
    for (int j = 0; j < V::kTaps; ++j) {
      const int64_t tap = first + j;
      const bool exists = V::channel_of(i) < count && tap >= 0 && tap < columns;
      packed[i * V::kTaps + j] = exists ? at(V::channel_of(i), tap) : 0;
    }
}

template <typename V>
constexpr int kGroupElements = V::kChannels* V::kTaps;

// One panel of channels, for steps that are known when compiling.
template <typename V, int kColumns, int kStride, int kOutputs>
struct KnownTaps {
  using S = Step<V, kColumns, kStride, kOutputs>;
  using Weight = typename V::Weight;
  static constexpr int kAtOnce = kOutputs;

  static int64_t elements(const Int8DepthwiseShape& s) { return s.rows * S::groups_of_weights() * kGroupElements<V>; }

  static void pack(const Int8DepthwiseShape& s, const int8_t* weight, int64_t count, Weight* packed) {
    for (int64_t row = 0; row < s.rows; ++row)
      for (int g = 0; g < S::kGroups; ++g)
        for (int p = 0; p < kOutputs; ++p) {
          if (!S::sees(p, g)) continue;
          pack_group<V>(
              g * V::kTaps - p * kStride, kColumns, count,
              [&](int64_t c, int64_t tap) { return weight[(c * s.rows + row) * kColumns + tap]; }, packed);
          packed += kGroupElements<V>;
        }
  }

  template <typename Window>
  [[gnu::always_inline]] static void sum(const Int8DepthwiseShape& s, Window window, const Weight* weights,
                                         int64_t count, const int32_t* start, typename V::Sums (&sums)[kOutputs]) {
#pragma GCC unroll 8
    for (int p = 0; p < kOutputs; ++p) sums[p] = V::begin(start);
    for (int64_t row = 0; row < s.rows; ++row) {
      const auto at = window.next_row();
#pragma GCC unroll 8
      for (int g = 0; g < S::kGroups; ++g) {
        constexpr int kLast = S::kPixels - 1;
        // What lies behind the last pixel is not read: its weights are 0.
        const typename V::Taps taps =
            V::taps([&](int i) { return at[g * V::kTaps + i < kLast ? g * V::kTaps + i : kLast]; }, count);
#pragma GCC unroll 8
        for (int p = 0; p < kOutputs; ++p) {
          if (!S::sees(p, g)) continue;
          sums[p] = V::add_products(sums[p], taps, weights);
          weights += kGroupElements<V>;
        }
      }
    }
  }
};

// For any number of taps at any distance, one pixel at a time.
template <typename V>
struct AnyTaps {
  using Weight = typename V::Weight;
  static constexpr int kAtOnce = 1;

  static int64_t groups(const Int8DepthwiseShape& s) { return (s.columns + V::kTaps - 1) / V::kTaps; }
  static int64_t elements(const Int8DepthwiseShape& s) { return s.rows * groups(s) * kGroupElements<V>; }

  static void pack(const Int8DepthwiseShape& s, const int8_t* weight, int64_t count, Weight* packed) {
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t g = 0; g < groups(s); ++g, packed += kGroupElements<V>)
        pack_group<V>(
            g * V::kTaps, s.columns, count,
            [&](int64_t c, int64_t tap) { return weight[(c * s.rows + row) * s.columns + tap]; }, packed);
  }

  template <typename Window>
  [[gnu::always_inline]] static void sum(const Int8DepthwiseShape& s, Window window, const Weight* weights,
                                         int64_t count, const int32_t* start, typename V::Sums (&sums)[1]) {
    const int64_t last = s.columns - 1;
    sums[0] = V::begin(start);
    for (int64_t row = 0; row < s.rows; ++row) {
      const auto at = window.next_row();
      for (int64_t first = 0; first <= last; first += V::kTaps, weights += kGroupElements<V>)
        sums[0] = V::add_products(
            sums[0], V::taps([&](int i) { return at[first + i < last ? first + i : last]; }, count), weights);
    }
  }
};

// Channels [first, first + count) of a task, at most kChannels.
template <typename V>
struct DepthwisePanel {
  const Int8DepthwiseTask& t;
  int64_t first, count;
  DepthwiseConstants<V::kChannels> constants;

  DepthwisePanel(const Int8DepthwiseTask& task, int64_t first_channel, int64_t channels)
      : t(task), first(first_channel), count(channels), constants{{}, {}, {}, DepthwiseLimits(task)} {
    reorder_channels<V>(t.bias + first, count, constants.bias);
    reorder_channels<V>(t.multiplier + first, count, constants.multiplier);
    if (!t.float_out) std::memcpy(constants.start, constants.bias, sizeof constants.start);
  }

  // One pixel's float results: few are wanted, of the last layers of parts that are quantized. Sums by value: those
  // that something points to are kept in memory.
  [[gnu::always_inline]] void finish_floats(typename V::Sums sums, float* out) const {
    alignas(64) int32_t in_order[V::kChannels];
    V::store(in_order, sums);
    for (int i = 0; i < V::kChannels; ++i) {
      const int64_t channel = V::channel_of(i);
      if (channel >= count) continue;
      // Sums wrap around as those of vectors do.
      const auto raw = static_cast<uint32_t>(in_order[i]), constant = static_cast<uint32_t>(constants.bias[i]);
      float y;
      if (t.own_parameters) {
        const auto sum = static_cast<int32_t>(raw - constant * static_cast<uint32_t>(t.image_zero_point));
        y = static_cast<float>(sum) * (t.image_scale * constants.multiplier[i]) +
            (t.offset ? t.offset[first + channel] : 0);
      } else {
        y = static_cast<float>(static_cast<int32_t>(raw + constant)) * constants.multiplier[i];
      }
      out[channel] = y > t.low ? y : t.low;
    }
  }

  [[gnu::always_inline]] void finish(const typename V::Sums& sums, int64_t at) const {
    if (t.float_out)
      finish_floats(sums, static_cast<float*>(t.y) + at);
    else
      V::finish(sums, constants, static_cast<uint8_t*>(t.y) + at, count);
  }

  template <typename Taps, typename Window>
  [[gnu::always_inline]] void run_step(const Window& window, const typename V::Weight* weights, int64_t y) const {
    typename V::Sums sums[Taps::kAtOnce];
    Taps::sum(t.shape, window, weights, count, constants.start, sums);
#pragma GCC unroll 8
    for (int p = 0; p < Taps::kAtOnce; ++p) finish(sums[p], y + p * t.shape.channels);
  }

  template <typename Taps>
  [[gnu::noinline]] void run_edge(int64_t row, int64_t pixel, const typename V::Weight* weights, int64_t y) const {
    run_step<Taps>(EdgeWindows(t, row, pixel, first), weights, y);
  }

  template <typename Taps>
  [[gnu::always_inline]] void run_row(int64_t row, int64_t begin, int64_t end, const DepthwisePanel& edges,
                                      const typename V::Weight* weights, int64_t y) const {
    constexpr int kAtOnce = Taps::kAtOnce;
    const int64_t x = t.first + row * t.x_row + first;
    for (int64_t pixel = 0; pixel < t.shape.width; pixel += kAtOnce) {
      // The last step goes over some pixels again.
      if (pixel + kAtOnce > t.shape.width) pixel = t.shape.width - kAtOnce;
      const int64_t at = y + pixel * t.shape.channels;
      if (pixel >= begin && pixel + kAtOnce <= end)
        run_step<Taps>(InsideWindows{t.x + (x + pixel * t.x_pixel), t.tap_row, t.tap_column}, weights, at);
      else
        edges.template run_edge<Taps>(row, pixel, weights, at);
    }
  }

  template <typename Taps>
  [[gnu::always_inline]] void run(const typename V::Weight* weights) const {
    // Of a copy that no function is given the constants can be in registers: loads are what limits this.
    const DepthwisePanel own(*this);
    int64_t top = 0, bottom = t.height, left = 0, right = t.shape.width;
    if (t.outside) {
      find_inside(t.image_rows, t.height, t.shape.rows, top, bottom);
      find_inside(t.image_columns, t.shape.width, t.shape.columns, left, right);
    }
    for (int64_t row = 0; row < t.height; ++row) {
      const bool inside = row >= top && row < bottom;
      own.template run_row<Taps>(row, inside ? left : t.shape.width, right, *this, weights,
                                 row * t.shape.width * t.shape.channels + first);
    }
  }
};

// f.operator()<Taps>() for how a panel's taps are added up.
template <typename V, typename F>
auto with_taps_of(const Int8DepthwiseShape& s, F&& f) {
  using Adjacent3 = KnownTaps<V, 3, 1, 2>;
  using Adjacent5 = KnownTaps<V, 5, 1, 4>;
  using Apart5 = KnownTaps<V, 5, 2, 2>;
  if (s.columns == 3 && s.stride == 1 && s.width >= Adjacent3::kAtOnce) return f.template operator()<Adjacent3>();
  if (s.columns == 5 && s.stride == 1 && s.width >= Adjacent5::kAtOnce) return f.template operator()<Adjacent5>();
  if (s.columns == 5 && s.stride == 2 && s.width >= Apart5::kAtOnce) return f.template operator()<Apart5>();
  if (s.columns == 3 && s.stride == 2) return f.template operator()<KnownTaps<V, 3, 2, 1>>();
  return f.template operator()<AnyTaps<V>>();
}

// f.operator()<V>(first, count) for panels of the widest vectors that the channels fill, the last perhaps in part.
// Where channels are no multiple of 16, so that images are in frames, which may be read beyond their end, a wider
// vector than they fill takes what would be two panels of narrower ones.
template <typename... Vs>
struct Panels;

template <typename V, typename... Narrower>
struct Panels<V, Narrower...> {
  static constexpr int64_t kWidest = V::kChannels;
  static_assert(V::kChannels <= kWidestDepthwisePanel);

  template <typename F>
  static void for_each(int64_t first, int64_t channels, F&& f) {
    for (; channels - first >= V::kChannels; first += V::kChannels)
      f.template operator()<V>(first, int64_t{V::kChannels});
    if constexpr (sizeof...(Narrower) > 0) {
      if (channels % 16 != 0 && channels - first > Panels<Narrower...>::kWidest)
        f.template operator()<V>(first, channels - first);
      else
        Panels<Narrower...>::for_each(first, channels, f);
    } else if (first < channels) {
      f.template operator()<V>(first, channels - first);
    }
  }
};

template <typename AllPanels>
struct DepthwiseLoops {
  static int64_t packed_bytes(const Int8DepthwiseShape& s) {
    int64_t bytes = 0;
    AllPanels::for_each(0, s.channels, [&]<typename V>(int64_t, int64_t) {
      bytes += with_taps_of<V>(s, [&]<typename Taps>() { return Taps::elements(s); }) *
               static_cast<int64_t>(sizeof(typename V::Weight));
    });
    return bytes;
  }

  static void pack(const Int8DepthwiseShape& s, const int8_t* weight, void* packed) {
    auto* to = static_cast<char*>(packed);
    AllPanels::for_each(0, s.channels, [&]<typename V>(int64_t first, int64_t count) {
      using Weight = typename V::Weight;
      with_taps_of<V>(s, [&]<typename Taps>() {
        Taps::pack(s, weight + first * s.rows * s.columns, count, reinterpret_cast<Weight*>(to));
        to += Taps::elements(s) * static_cast<int64_t>(sizeof(Weight));
      });
    });
  }

  static void run(const Int8DepthwiseTask& t) {
    const auto* from = static_cast<const char*>(t.weights);
    AllPanels::for_each(0, t.shape.channels, [&]<typename V>(int64_t first, int64_t count) {
      using Weight = typename V::Weight;
      const DepthwisePanel<V> panel(t, first, count);
      with_taps_of<V>(t.shape, [&]<typename Taps>() {
        panel.template run<Taps>(reinterpret_cast<const Weight*>(from));
        from += Taps::elements(t.shape) * static_cast<int64_t>(sizeof(Weight));
      });
    });
  }

  static constexpr Int8DepthwiseTable kTable{packed_bytes, pack, run};
};

}  // namespace
}  // namespace thimble::kernels
