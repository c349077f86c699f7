// Loops over uint8 in vectors, written with a class V of an instruction set's registers:
//
// - V::kFloats                       elements in a register of floats
// - V::Floats                        such a register, with the operators + - * /
// - V::broadcast(float)
// - V::larger(x, y), V::smaller(x, y)
// - V::load_bytes(p, f)              4 * kFloats bytes, plus 2^23, to four registers f[i], in an order of V's
// - V::store_bytes(f, to, p)         four such registers, rounded half to even, plus to.zero_point, within to.low and
//   to.high, to bytes at p. Their magnitudes are below 2^31.
// - V::Words                         sums of 2 * kFloats bytes in 16 bits each
// - V::add_bytes(words, p)           words + 2 * kFloats bytes
// - V::Totals                        sums in 32 bits
// - V::add_words(totals, words)
// - V::store(totals, uint32_t*)
// - V::store_means(totals, count, p) totals / count, rounded half to even, to bytes
#pragma once

#include <thimble/core/kernels/int8/uint8_loops.h>

namespace thimble::kernels {
namespace {

// Bytes are the lowest of floats' digits: plus 2^23 they are floats without a conversion.
constexpr float kOfByte = 8388608.0f;

// What results are brought to, as bytes.
struct ByteRange {
  int32_t zero_point;
  uint8_t low, high;

  template <typename Constants>
  static ByteRange of(const Constants& c) {
    const auto byte = [&](float v) { return static_cast<uint8_t>(static_cast<int32_t>(v) + c.zero_point); };
    return {c.zero_point, byte(c.low), byte(c.high)};
  }
};

// Calls f(x, y) for registers of a's and b's bytes, each plus 2^23, and stores what it returns. Returns how many
// elements it has done.
template <typename V, typename F>
[[gnu::always_inline]] inline int64_t for_each_four(const uint8_t* a, const uint8_t* b, int64_t n,
                                                    const ByteRange& range, uint8_t* out, F&& f) {
  int64_t i = 0;
  for (; i + 4 * V::kFloats <= n; i += 4 * V::kFloats) {
    typename V::Floats x[4], y[4];
    V::load_bytes(a + i, x);
    V::load_bytes(b + i, y);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) x[k] = f(x[k], y[k]);
    V::store_bytes(x, range, out + i);
  }
  return i;
}

// Larger ones, which only senseless scales give, are for the plain loops.
constexpr float kMostMagnitude = 1073741824.0f;

inline float magnitude(float v) { return v < 0 ? -v : v; }

using AddLoop = decltype(Uint8Kernels::add);

// `each` does the same element by element.
template <typename V, typename F>
[[gnu::always_inline]] inline void combine_in_vectors(const uint8_t* a, const uint8_t* b, int64_t n,
                                                      const QuantizedAddConstants& c, uint8_t* out, AddLoop each,
                                                      F&& f) {
  if (!(255 * (magnitude(c.a_scale) + magnitude(c.b_scale)) < kMostMagnitude)) return each(a, b, n, c, out);
  const auto a_scale = V::broadcast(c.a_scale), b_scale = V::broadcast(c.b_scale);
  const auto a_zero = V::broadcast(kOfByte + static_cast<float>(c.a_zero_point)),
             b_zero = V::broadcast(kOfByte + static_cast<float>(c.b_zero_point));
  const int64_t done = for_each_four<V>(
      a, b, n, ByteRange::of(c), out, [&](typename V::Floats x, typename V::Floats y) __attribute__((always_inline)) {
        return f((x - a_zero) * a_scale, (y - b_zero) * b_scale);
      });
  each(a + done, b + done, n - done, c, out + done);
}

template <typename V>
void add_in_vectors(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out) {
  using Floats = typename V::Floats;
  combine_in_vectors<V>(
      a, b, n, c, out, add_each, [](Floats x, Floats y) __attribute__((always_inline)) { return x + y; });
}

template <typename V>
void maximum_in_vectors(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out) {
  using Floats = typename V::Floats;
  combine_in_vectors<V>(
      a, b, n, c, out, maximum_each, [](Floats x, Floats y) __attribute__((always_inline)) { return V::larger(x, y); });
}

template <typename V>
void minimum_in_vectors(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddConstants& c, uint8_t* out) {
  using Floats = typename V::Floats;
  combine_in_vectors<V>(
      a, b, n, c, out, minimum_each,
      [](Floats x, Floats y) __attribute__((always_inline)) { return V::smaller(x, y); });
}

template <typename V>
void mul_in_vectors(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedMulConstants& c, uint8_t* out) {
  if (!(255 * 255 * c.scale < kMostMagnitude)) return mul_each(a, b, n, c, out);
  const auto scale = V::broadcast(c.scale);
  const auto a_zero = V::broadcast(kOfByte + static_cast<float>(c.a_zero_point)),
             b_zero = V::broadcast(kOfByte + static_cast<float>(c.b_zero_point));
  const int64_t done = for_each_four<V>(
      a, b, n, ByteRange::of(c), out, [&](typename V::Floats x, typename V::Floats y) __attribute__((always_inline)) {
        return (x - a_zero) * (y - b_zero) * scale;
      });
  mul_each(a + done, b + done, n - done, c, out + done);
}

// kRegisters vectors of channels, given to store(totals, which). 16 bits hold the sum of so many bytes; then they are
// added to 32.
template <typename V, int kRegisters, typename Store>
[[gnu::always_inline]] inline void sum_vectors(const Uint8Window& window, int64_t channel, Store&& store) {
  constexpr int64_t kMostPixels = 65535 / 255;
  typename V::Totals totals[kRegisters]{};
  typename V::Words words[kRegisters]{};
  int64_t room = kMostPixels;
  for (int64_t row = 0; row < window.rows; ++row) {
    const uint8_t* pixel = window.first + row * window.row_step + channel;
    for (int64_t left = window.columns; left > 0;) {
      const int64_t count = left < room ? left : room;
      for (int64_t i = 0; i < count; ++i, pixel += window.column_step)
#pragma GCC unroll 2
        for (int r = 0; r < kRegisters; ++r) words[r] = V::add_bytes(words[r], pixel + r * 2 * V::kFloats);
      left -= count;
      room -= count;
      if (room > 0) continue;
#pragma GCC unroll 2
      for (int r = 0; r < kRegisters; ++r) {
        totals[r] = V::add_words(totals[r], words[r]);
        words[r] = typename V::Words{};
      }
      room = kMostPixels;
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < kRegisters; ++r) store(V::add_words(totals[r], words[r]), channel + r * 2 * V::kFloats);
}

// Calls store(totals, channel) for all channels, at least as many as a vector has; the last vector takes some again.
template <typename V, typename Store>
[[gnu::always_inline]] inline void sum_all_vectors(const Uint8Window& window, int64_t channels, Store&& store) {
  constexpr int64_t kCount = 2 * V::kFloats;
  int64_t c = 0;
  for (; c + 2 * kCount <= channels; c += 2 * kCount) sum_vectors<V, 2>(window, c, store);
  for (; c < channels; c += kCount) sum_vectors<V, 1>(window, c + kCount <= channels ? c : channels - kCount, store);
}

template <typename V>
void sum_in_vectors(const Uint8Window& window, int64_t channels, uint32_t* sums) {
  if (channels < 2 * V::kFloats) return sum_each(window, channels, sums);
  sum_all_vectors<V>(
      window, channels, [&](const typename V::Totals& totals, int64_t channel) __attribute__((always_inline)) {
        V::store(totals, sums + channel);
      });
}

template <typename V>
void mean_in_vectors(const Uint8Window& window, int64_t channels, uint8_t* out) {
  if (channels < 2 * V::kFloats) return mean_each(window, channels, out);
  const auto count = V::broadcast(static_cast<float>(window.pixels()));
  sum_all_vectors<V>(
      window, channels, [&](const typename V::Totals& totals, int64_t channel) __attribute__((always_inline)) {
        V::store_means(totals, count, out + channel);
      });
}

}  // namespace
}  // namespace thimble::kernels
