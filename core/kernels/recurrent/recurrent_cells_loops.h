// The loops of recurrent_cells.h. A class A says what a group of elements V is, and has
//   each(n, f)   f(V(), i) for the groups of n elements
//   sigmoid(v), tanh(v)
#pragma once

#include <thimble/core/kernels/recurrent/recurrent_cells.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

template <typename V, typename T>
[[gnu::always_inline]] inline V group_at(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

#define THIMBLE_GROUPS(...)                                       \
  A::each(                                                        \
      n, [&](auto of, int64_t i) __attribute__((always_inline)) { \
        using V = decltype(of);                                   \
        __VA_ARGS__                                               \
      })

template <typename A, typename T = typename A::Value>
void lstm_row(const CellRow<T>& c) {
  const int64_t n = c.hidden;
  THIMBLE_GROUPS({
    const auto sum = [&](int64_t gate) __attribute__((always_inline)) {
      return group_at<V>(c.gates + gate * n + i) + group_at<V>(c.h_part + gate * n + i);
    };
    const V in = A::sigmoid(sum(0)), forget = A::sigmoid(sum(1)), g = A::tanh(sum(2)), out = A::sigmoid(sum(3));
    const V cell = forget * group_at<V>(c.before + i) + in * g, h = out * A::tanh(cell);
    store(c.gates + i, in);
    store(c.gates + n + i, forget);
    store(c.gates + 2 * n + i, g);
    store(c.gates + 3 * n + i, out);
    store(c.kept + i, cell);
    store(c.h + i, h);
    store(c.out + i, h);
  });
}

template <typename A, typename T = typename A::Value>
void lstm_gradient(const CellGradient<T>& c) {
  const int64_t n = c.hidden;
  THIMBLE_GROUPS({
    const V in = group_at<V>(c.gates + i), forget = group_at<V>(c.gates + n + i), g = group_at<V>(c.gates + 2 * n + i),
            out = group_at<V>(c.gates + 3 * n + i), cell = A::tanh(group_at<V>(c.kept + i));
    const V dh = group_at<V>(c.dh + i) + group_at<V>(c.out_grad + i);
    const V dc = group_at<V>(c.dc + i) + dh * out * (1 - cell * cell);
    store(c.d_gates + i, dc * g * in * (1 - in));
    store(c.d_gates + n + i, dc * group_at<V>(c.before + i) * forget * (1 - forget));
    store(c.d_gates + 2 * n + i, dc * in * (1 - g * g));
    store(c.d_gates + 3 * n + i, dh * cell * out * (1 - out));
    store(c.dc + i, dc * forget);
    store(c.direct + i, V{});
  });
}

template <typename A, typename T = typename A::Value>
void gru_row(const CellRow<T>& c) {
  const int64_t n = c.hidden;
  THIMBLE_GROUPS({
    const auto sum = [&](int64_t gate) __attribute__((always_inline)) {
      return group_at<V>(c.gates + gate * n + i) + group_at<V>(c.h_part + gate * n + i);
    };
    const V reset = A::sigmoid(sum(0)), update = A::sigmoid(sum(1)), own = group_at<V>(c.h_part + 2 * n + i);
    const V fresh = A::tanh(group_at<V>(c.gates + 2 * n + i) + reset * own);
    const V h = (1 - update) * fresh + update * group_at<V>(c.h + i);
    store(c.gates + i, reset);
    store(c.gates + n + i, update);
    store(c.gates + 2 * n + i, fresh);
    store(c.kept + i, own);
    store(c.h + i, h);
    store(c.out + i, h);
  });
}

template <typename A, typename T = typename A::Value>
void gru_gradient(const CellGradient<T>& c) {
  const int64_t n = c.hidden;
  THIMBLE_GROUPS({
    const V reset = group_at<V>(c.gates + i), update = group_at<V>(c.gates + n + i),
            fresh = group_at<V>(c.gates + 2 * n + i), own = group_at<V>(c.kept + i);
    const V dh = group_at<V>(c.dh + i) + group_at<V>(c.out_grad + i);
    const V d_fresh = dh * (1 - update) * (1 - fresh * fresh);
    const V d_reset = d_fresh * own * reset * (1 - reset);
    const V d_update = dh * (group_at<V>(c.h_before + i) - fresh) * update * (1 - update);
    store(c.d_gates + i, d_reset);
    store(c.d_gates + n + i, d_update);
    store(c.d_gates + 2 * n + i, d_fresh);
    store(c.d_h_part + i, d_reset);
    store(c.d_h_part + n + i, d_update);
    store(c.d_h_part + 2 * n + i, d_fresh * reset);
    store(c.direct + i, dh * update);
  });
}

template <typename A, bool IsRelu, typename T = typename A::Value>
void rnn_row(const CellRow<T>& c) {
  const int64_t n = c.hidden;
  THIMBLE_GROUPS({
    const V sum = group_at<V>(c.gates + i) + group_at<V>(c.h_part + i);
    V h;
    if constexpr (IsRelu)
      h = sum < T{0} ? V{} : sum;  // NaN stays
    else
      h = A::tanh(sum);
    store(c.gates + i, h);
    store(c.h + i, h);
    store(c.out + i, h);
  });
}

template <typename A, bool IsRelu, typename T = typename A::Value>
void rnn_gradient(const CellGradient<T>& c) {
  const int64_t n = c.hidden;
  THIMBLE_GROUPS({
    const V h = group_at<V>(c.gates + i), dh = group_at<V>(c.dh + i) + group_at<V>(c.out_grad + i);
    if constexpr (IsRelu)
      store(c.d_gates + i, h > T{0} ? dh : V{});
    else
      store(c.d_gates + i, dh * (1 - h * h));
    store(c.direct + i, V{});
  });
}

#undef THIMBLE_GROUPS

template <typename A>
constexpr RecurrentCells<typename A::Value> recurrent_cells_of() {
  return {{lstm_row<A>, gru_row<A>, rnn_row<A, false>, rnn_row<A, true>},
          {lstm_gradient<A>, gru_gradient<A>, rnn_gradient<A, false>, rnn_gradient<A, true>}};
}

}  // namespace
}  // namespace thimble::kernels
