// The elementwise functions, and the table of row loops that each instruction set provides for them. Plain data only:
// sources that are compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Functions of x. p0 and p1 are parameters.
enum class Unary {
  neg,
  abs,
  exp,
  log,
  sqrt,
  square,
  pow,  // x^p0
  tanh,
  sigmoid,
  relu,
  leaky_relu,  // slope p0 below 0
  clamp,       // to [p0, p1]
  gelu,
  silu,
  erf,
  hardsigmoid,  // clamp(x + 3, 0, 6) / 6
  hardswish,    // x * hardsigmoid(x)
  count
};

/// Functions of a and b. Those named *_backward take a value v of the forward function (its output for tanh and
/// sigmoid, else its input) and the output's gradient g, and give the input's.
enum class Binary {
  add,
  sub,
  mul,
  div,
  pow,
  maximum,
  minimum,
  add_relu,  // relu(a + b)
  prelu,     // a above 0, else a * b
  abs_backward,
  relu_backward,
  leaky_relu_backward,  // slope p0 below 0
  hardtanh_backward,    // 0 at the bounds p0 and p1
  clamp_backward,       // 1 at the bounds p0 and p1
  tanh_backward,
  sigmoid_backward,
  gelu_backward,
  silu_backward,
  hardswish_backward,
  count
};

/// Comparisons of a and b, giving 0 or 1.
enum class Compare { greater, greater_equal, equal, count };

// A row is n elements of each operand, `s*` elements apart; results are written densely. `out` is an input itself or
// overlaps none.
template <typename T>
using UnaryRow = void (*)(const T* x, int64_t sx, T* out, int64_t n, T p0, T p1);
template <typename T>
using BinaryRow = void (*)(const T* a, int64_t sa, const T* b, int64_t sb, T* out, int64_t n, T p0, T p1);
template <typename T>
using CompareRow = void (*)(const T* a, int64_t sa, const T* b, int64_t sb, uint8_t* out, int64_t n);
template <typename T>
using WhereRow = void (*)(const uint8_t* condition, int64_t sc, const T* a, int64_t sa, const T* b, int64_t sb, T* out,
                          int64_t n);

template <typename T>
struct ElementwiseRows {
  UnaryRow<T> unary[static_cast<int>(Unary::count)];
  BinaryRow<T> binary[static_cast<int>(Binary::count)];
  CompareRow<T> compare[static_cast<int>(Compare::count)];
  WhereRow<T> where;
};

struct ElementwiseTable {
  ElementwiseRows<float> float32;
  ElementwiseRows<double> float64;
};

extern const ElementwiseTable elementwise_scalar;
extern const ElementwiseTable elementwise_avx2;
extern const ElementwiseTable elementwise_avx512;

}  // namespace thimble::kernels
