// recurrent_cells_loops.h for floats, in registers of a given size.
#pragma once

#include <thimble/core/kernels/recurrent/recurrent_cells_loops.h>
#include <thimble/core/kernels/vector_math.h>

namespace thimble::kernels {
namespace {

template <int kBytes>
struct FloatCells {
  using Value = float;
  template <typename F>
  [[gnu::always_inline]] static void each(int64_t n, F&& f) {
    for_each_vector<float, kBytes>(
        n, [&](auto count, int64_t i)
               __attribute__((always_inline)) { f(Vector<float, decltype(count)::value>{}, i); });
  }
  template <typename V>
  [[gnu::always_inline]] static V sigmoid(V v) {
    return vector_sigmoid(v);
  }
  template <typename V>
  [[gnu::always_inline]] static V tanh(V v) {
    return vector_tanh(v);
  }
};

}  // namespace
}  // namespace thimble::kernels
