// The loops of int8_cells.h, in registers of a given size.
#pragma once

#include <thimble/core/kernels/recurrent/int8_cells.h>
#include <thimble/core/kernels/vector_math.h>

namespace thimble::kernels {
namespace {

/// A number that is yet to be divided.
template <typename V>
struct Quotient {
  V above, below;
};

/// x P(x^2) / Q(x^2) of x in [-7, 7], beyond which 1 - |tanh| is below 1.7e-6. NaN stays.
template <typename V>
[[gnu::always_inline]] inline Quotient<V> tanh_quotient(V v) {
  constexpr float kP[] = {0x1.ffffccp-1f, 0x1.f893c6p-4f, 0x1.2c35f6p-9f, 0x1.0b6cacp-18f};
  constexpr float kQ[] = {1, 0x1.d377f4p-2f, 0x1.5a555p-6f, 0x1.2d63bcp-13f};
  const V below = v < -7.0f ? all<V>(-7) : v, x = at_most(below, 7), square = x * x;
  return {x * polynomial(square, kP), polynomial(square, kQ)};
}

/// (1 + tanh(x / 2)) / 2
template <typename V>
[[gnu::always_inline]] inline Quotient<V> sigmoid_quotient(V v) {
  const Quotient<V> t = tanh_quotient(v * 0.5f);
  return {t.below + t.above, t.below + t.below};
}

template <typename V>
[[gnu::always_inline]] inline V row_part(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

/// What x and h give together.
template <typename V>
[[gnu::always_inline]] inline V gate_sum(const Int8CellRow& r, int64_t gate, int64_t i) {
  return row_part<V>(r.x_part + gate * r.hidden + i) + row_part<V>(r.h_part + gate * r.hidden + i);
}

/// Calls f(V(), i) for the groups of n elements.
template <int kBytes, typename F>
[[gnu::always_inline]] inline void for_each_part(int64_t n, F&& f) {
  for_each_vector<float, kBytes>(
      n, [&](auto count, int64_t i) __attribute__((always_inline)) { f(Vector<float, decltype(count)::value>{}, i); });
}

template <int kBytes>
void int8_lstm_row(const Int8CellRow& r) {
  const int64_t n = r.hidden;
  for_each_part<kBytes>(
      n, [&](auto of, int64_t i) __attribute__((always_inline)) {
        using V = decltype(of);
        const auto sum = [&](int64_t gate) __attribute__((always_inline)) { return gate_sum<V>(r, gate, i); };
        const Quotient<V> in = sigmoid_quotient(sum(0)), forget = sigmoid_quotient(sum(1)), g = tanh_quotient(sum(2)),
                          out = sigmoid_quotient(sum(3));
        const V below = in.below * g.below;
        const V cell =
            (forget.above * row_part<V>(r.c + i) * below + in.above * g.above * forget.below) / (forget.below * below);
        const Quotient<V> t = tanh_quotient(cell);
        store(r.c + i, cell);
        store(r.h + i, out.above * t.above / (out.below * t.below));
      });
}

template <int kBytes>
void int8_gru_row(const Int8CellRow& r) {
  const int64_t n = r.hidden;
  for_each_part<kBytes>(
      n, [&](auto of, int64_t i) __attribute__((always_inline)) {
        using V = decltype(of);
        const auto sum = [&](int64_t gate) __attribute__((always_inline)) { return gate_sum<V>(r, gate, i); };
        const Quotient<V> reset = sigmoid_quotient(sum(0)), update = sigmoid_quotient(sum(1));
        V own = row_part<V>(r.h_part + 2 * n + i);
        if (r.n_bias) own += row_part<V>(r.n_bias + i);
        const Quotient<V> fresh = tanh_quotient(row_part<V>(r.x_part + 2 * n + i) + reset.above * own / reset.below);
        const V kept = update.above * row_part<V>(r.h + i) * fresh.below,
                added = (update.below - update.above) * fresh.above;
        store(r.h + i, (added + kept) / (update.below * fresh.below));
      });
}

template <int kBytes, bool kIsRelu>
void int8_rnn_row(const Int8CellRow& r) {
  for_each_part<kBytes>(
      r.hidden, [&](auto of, int64_t i) __attribute__((always_inline)) {
        using V = decltype(of);
        const V sum = gate_sum<V>(r, 0, i);
        if constexpr (kIsRelu) {
          store(r.h + i, sum < 0.0f ? V{} : sum);  // NaN stays
        } else {
          const Quotient<V> t = tanh_quotient(sum);
          store(r.h + i, t.above / t.below);
        }
      });
}

bool int8_cells_have_nan(const float* x, int64_t n) {
  int32_t any = 0;
  for (int64_t i = 0; i < n; ++i) any |= x[i] != x[i] ? 1 : 0;
  return any != 0;
}

template <int kBytes>
constexpr Int8Cells int8_cells_of() {
  return {{int8_lstm_row<kBytes>, int8_gru_row<kBytes>, int8_rnn_row<kBytes, false>, int8_rnn_row<kBytes, true>},
          int8_cells_have_nan};
}

}  // namespace
}  // namespace thimble::kernels
