// The elementwise row loops, written once; elementwise_<isa>.cpp compile them, and the compiler vectorizes them. All in
// an unnamed namespace and without the standard library's inline functions, so that no two instruction sets share code.
// The same operations in the same order everywhere: every instruction set gives the same bits.
#pragma once

#include <utility>

#include <thimble/core/kernels/elementwise/elementwise_rows.h>

namespace thimble::kernels {
namespace {

inline float exp_of(float x) { return __builtin_expf(x); }
inline double exp_of(double x) { return __builtin_exp(x); }
inline float log_of(float x) { return __builtin_logf(x); }
inline double log_of(double x) { return __builtin_log(x); }
inline float sqrt_of(float x) { return __builtin_sqrtf(x); }
inline double sqrt_of(double x) { return __builtin_sqrt(x); }
inline float tanh_of(float x) { return __builtin_tanhf(x); }
inline double tanh_of(double x) { return __builtin_tanh(x); }
inline float erfc_of(float x) { return __builtin_erfcf(x); }
inline double erfc_of(double x) { return __builtin_erfc(x); }
inline float pow_of(float x, float y) { return __builtin_powf(x, y); }
inline double pow_of(double x, double y) { return __builtin_pow(x, y); }
inline float abs_of(float x) { return __builtin_fabsf(x); }
inline double abs_of(double x) { return __builtin_fabs(x); }

template <typename T>
inline T sigmoid_of(T x) {
  return T(1) / (T(1) + exp_of(-x));
}

/// The standard normal distribution function. erfc, not 1 + erf, keeps its digits for negative x.
template <typename T>
inline T normal_cdf(T x) {
  return T(0.5) * erfc_of(x * T(-0.70710678118654752440));
}

template <typename T>
inline T normal_pdf(T x) {
  return T(0.39894228040143267794) * exp_of(T(-0.5) * x * x);
}

// Comparisons are written so that NaN comes through: an ordered comparison with NaN is false.
template <Unary kFunction, typename T>
inline T evaluate(T x, [[maybe_unused]] T p0, [[maybe_unused]] T p1) {
  if constexpr (kFunction == Unary::neg) return -x;
  if constexpr (kFunction == Unary::abs) return abs_of(x);
  if constexpr (kFunction == Unary::exp) return exp_of(x);
  if constexpr (kFunction == Unary::log) return log_of(x);
  if constexpr (kFunction == Unary::sqrt) return sqrt_of(x);
  if constexpr (kFunction == Unary::square) return x * x;
  if constexpr (kFunction == Unary::pow) return pow_of(x, p0);
  if constexpr (kFunction == Unary::tanh) return tanh_of(x);
  if constexpr (kFunction == Unary::sigmoid) return sigmoid_of(x);
  if constexpr (kFunction == Unary::relu) return x < T(0) ? T(0) : x;
  if constexpr (kFunction == Unary::leaky_relu) {
    const T scaled = x * p0;
    return x < T(0) ? scaled : x;
  }
  if constexpr (kFunction == Unary::clamp) {
    const T raised = x < p0 ? p0 : x;
    return raised > p1 ? p1 : raised;
  }
  if constexpr (kFunction == Unary::gelu) return x * normal_cdf(x);
  if constexpr (kFunction == Unary::silu) return x / (T(1) + exp_of(-x));
}

template <Binary kFunction, typename T>
inline T evaluate(T a, T b, [[maybe_unused]] T p0, [[maybe_unused]] T p1) {
  if constexpr (kFunction == Binary::add) return a + b;
  if constexpr (kFunction == Binary::sub) return a - b;
  if constexpr (kFunction == Binary::mul) return a * b;
  if constexpr (kFunction == Binary::div) return a / b;
  if constexpr (kFunction == Binary::pow) return pow_of(a, b);
  if constexpr (kFunction == Binary::maximum) return ((a > b) | (a != a)) ? a : b;
  if constexpr (kFunction == Binary::minimum) return ((a < b) | (a != a)) ? a : b;
  if constexpr (kFunction == Binary::add_relu) {
    const T sum = a + b;
    return sum < T(0) ? T(0) : sum;
  }
  if constexpr (kFunction == Binary::abs_backward) {
    const T not_positive = a < T(0) ? -b : T(0);
    return a > T(0) ? b : not_positive;
  }
  if constexpr (kFunction == Binary::relu_backward) return a <= T(0) ? T(0) : b;
  if constexpr (kFunction == Binary::leaky_relu_backward) {
    const T scaled = b * p0;
    return a > T(0) ? b : scaled;
  }
  if constexpr (kFunction == Binary::hardtanh_backward) return ((a > p0) & (a < p1)) ? b : T(0);
  if constexpr (kFunction == Binary::clamp_backward) return ((a >= p0) & (a <= p1)) ? b : T(0);
  if constexpr (kFunction == Binary::tanh_backward) return b * (T(1) - a * a);
  if constexpr (kFunction == Binary::sigmoid_backward) return b * (T(1) - a) * a;
  if constexpr (kFunction == Binary::gelu_backward) return b * (normal_cdf(a) + a * normal_pdf(a));
  if constexpr (kFunction == Binary::silu_backward) {
    const T s = sigmoid_of(a);
    return b * s * (T(1) + a * (T(1) - s));
  }
}

template <Compare kFunction, typename T>
inline uint8_t evaluate(T a, T b) {
  if constexpr (kFunction == Compare::greater) return a > b;
  if constexpr (kFunction == Compare::greater_equal) return a >= b;
  if constexpr (kFunction == Compare::equal) return a == b;
}

// Applies f to two operands' rows. Strides of 1 and 0 are known to the compiler in the loops that matter.
template <typename T, typename Out, typename F>
inline void for_pairs(const T* a, int64_t sa, const T* b, int64_t sb, Out* __restrict out, int64_t n, F f) {
  if (sa == 1 && sb == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  } else if (sa == 1 && sb == 0) {
    const T scalar = *b;
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], scalar);
  } else if (sa == 0 && sb == 1) {
    const T scalar = *a;
    for (int64_t i = 0; i < n; ++i) out[i] = f(scalar, b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i * sa], b[i * sb]);
  }
}

template <Unary kFunction, typename T>
void unary_row(const T* x, int64_t sx, T* __restrict out, int64_t n, T p0, T p1) {
  if (sx == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = evaluate<kFunction>(x[i], p0, p1);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = evaluate<kFunction>(x[i * sx], p0, p1);
  }
}

template <Binary kFunction, typename T>
void binary_row(const T* a, int64_t sa, const T* b, int64_t sb, T* out, int64_t n, T p0, T p1) {
  for_pairs(a, sa, b, sb, out, n, [p0, p1](T u, T v) { return evaluate<kFunction>(u, v, p0, p1); });
}

template <Compare kFunction, typename T>
void compare_row(const T* a, int64_t sa, const T* b, int64_t sb, uint8_t* out, int64_t n) {
  for_pairs(a, sa, b, sb, out, n, [](T u, T v) { return evaluate<kFunction>(u, v); });
}

template <typename T>
void where_row(const uint8_t* condition, int64_t sc, const T* a, int64_t sa, const T* b, int64_t sb, T* __restrict out,
               int64_t n) {
  if (sc == 1 && sa == 1 && sb == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i] ? a[i] : b[i];
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i * sc] ? a[i * sa] : b[i * sb];
  }
}

template <typename T, int... kUnary, int... kBinary, int... kCompare>
constexpr ElementwiseRows<T> rows_of(std::integer_sequence<int, kUnary...>, std::integer_sequence<int, kBinary...>,
                                     std::integer_sequence<int, kCompare...>) {
  return {{&unary_row<static_cast<Unary>(kUnary), T>...},
          {&binary_row<static_cast<Binary>(kBinary), T>...},
          {&compare_row<static_cast<Compare>(kCompare), T>...},
          &where_row<T>};
}

template <typename T>
constexpr ElementwiseRows<T> rows() {
  return rows_of<T>(std::make_integer_sequence<int, static_cast<int>(Unary::count)>(),
                    std::make_integer_sequence<int, static_cast<int>(Binary::count)>(),
                    std::make_integer_sequence<int, static_cast<int>(Compare::count)>());
}

constexpr ElementwiseTable kTable{rows<float>(), rows<double>()};

}  // namespace
}  // namespace thimble::kernels
