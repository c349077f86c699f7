// The elementwise row loops, written once; elementwise_<isa>.cpp compile them, and say how large registers are. What
// has one operation an element is left to the compiler to vectorize, transcendental ones of float32 are vectors'
// (vector_math.h), and float64 has the C library's. All in an unnamed namespace and without the standard library's
// inline functions, so that no two instruction sets share code. The same operations in the same order everywhere: every
// instruction set gives the same bits.
#pragma once

#include <utility>

#include <thimble/core/kernels/elementwise/elementwise_rows.h>
#include <thimble/core/kernels/vector_math.h>

namespace thimble::kernels {
namespace {

inline float sqrt_of(float x) { return __builtin_sqrtf(x); }
inline double sqrt_of(double x) { return __builtin_sqrt(x); }
inline float pow_of(float x, float y) { return __builtin_powf(x, y); }
inline double pow_of(double x, double y) { return __builtin_pow(x, y); }
inline float abs_of(float x) { return __builtin_fabsf(x); }
inline double abs_of(double x) { return __builtin_fabs(x); }

inline double sigmoid_of(double x) { return 1 / (1 + __builtin_exp(-x)); }

/// The standard normal distribution function. erfc, not 1 + erf, keeps its digits for negative x.
inline double normal_cdf(double x) { return 0.5 * __builtin_erfc(x * -0.70710678118654752440); }

inline double normal_pdf(double x) { return 0.39894228040143267794 * __builtin_exp(-0.5 * x * x); }

/// Those that are vectors' for float, in one loop for all strides, and numbers' for double: calls of the C library, and
/// what would be much code otherwise.
constexpr bool is_written_in_vectors(Unary f) {
  switch (f) {
    case Unary::exp:
    case Unary::log:
    case Unary::tanh:
    case Unary::sigmoid:
    case Unary::gelu:
    case Unary::silu:
    case Unary::erf:
    case Unary::hardsigmoid:
    case Unary::hardswish:
      return true;
    default:
      return false;
  }
}
constexpr bool is_written_in_vectors(Binary f) {
  return f == Binary::gelu_backward || f == Binary::silu_backward || f == Binary::hardswish_backward;
}

inline double hardsigmoid_of(double x) {
  const double shifted = x + 3, raised = shifted < 0 ? 0 : shifted;
  return (raised > 6 ? 6 : raised) / 6;
}

template <typename V>
[[gnu::always_inline]] inline V hardsigmoid_of(V x) {
  const V shifted = x + 3.0f, raised = shifted < 0.0f ? V{} : shifted;
  return at_most(raised, 6) * (1.0f / 6);
}

template <Unary kFunction>
inline double evaluate_double(double x) {
  if constexpr (kFunction == Unary::exp) return __builtin_exp(x);
  if constexpr (kFunction == Unary::log) return __builtin_log(x);
  if constexpr (kFunction == Unary::tanh) return __builtin_tanh(x);
  if constexpr (kFunction == Unary::sigmoid) return sigmoid_of(x);
  if constexpr (kFunction == Unary::gelu) return x * normal_cdf(x);
  if constexpr (kFunction == Unary::silu) return x / (1 + __builtin_exp(-x));
  if constexpr (kFunction == Unary::erf) return __builtin_erf(x);
  if constexpr (kFunction == Unary::hardsigmoid) return hardsigmoid_of(x);
  if constexpr (kFunction == Unary::hardswish) return x * hardsigmoid_of(x);
}

template <Unary kFunction, typename V>
[[gnu::always_inline]] inline V evaluate_vector(V x) {
  if constexpr (kFunction == Unary::exp) return vector_exp(x);
  if constexpr (kFunction == Unary::log) return vector_log(x);
  if constexpr (kFunction == Unary::tanh) return vector_tanh(x);
  if constexpr (kFunction == Unary::sigmoid) return vector_sigmoid(x);
  if constexpr (kFunction == Unary::gelu) return vector_gelu(x);
  if constexpr (kFunction == Unary::silu) return vector_silu(x);
  if constexpr (kFunction == Unary::erf) return vector_erf(x);
  if constexpr (kFunction == Unary::hardsigmoid) return hardsigmoid_of(x);
  if constexpr (kFunction == Unary::hardswish) return x * hardsigmoid_of(x);
}

template <Binary kFunction>
inline double evaluate_double(double a, double b) {
  if constexpr (kFunction == Binary::gelu_backward) return b * (normal_cdf(a) + a * normal_pdf(a));
  if constexpr (kFunction == Binary::silu_backward) {
    const double s = sigmoid_of(a);
    return b * s * (1 + a * (1 - s));
  }
  if constexpr (kFunction == Binary::hardswish_backward) {
    const double inner = b * (a / 3 + 0.5), not_below = a >= 3 ? b : inner;
    return a < -3 ? 0 : not_below;
  }
}

template <Binary kFunction, typename V>
[[gnu::always_inline]] inline V evaluate_vector(V a, V b) {
  if constexpr (kFunction == Binary::gelu_backward) return b * vector_gelu_derivative(a);
  if constexpr (kFunction == Binary::silu_backward) return b * vector_silu_derivative(a);
  if constexpr (kFunction == Binary::hardswish_backward) {
    const V inner = b * (a * (1.0f / 3) + 0.5f), not_below = a >= 3.0f ? b : inner;
    return a < -3.0f ? V{} : not_below;
  }
}

// Comparisons are written so that NaN comes through: an ordered comparison with NaN is false.
template <Unary kFunction, typename T>
inline T evaluate(T x, [[maybe_unused]] T p0, [[maybe_unused]] T p1) {
  if constexpr (is_written_in_vectors(kFunction)) return evaluate_double<kFunction>(x);
  if constexpr (kFunction == Unary::neg) return -x;
  if constexpr (kFunction == Unary::abs) return abs_of(x);
  if constexpr (kFunction == Unary::sqrt) return sqrt_of(x);
  if constexpr (kFunction == Unary::square) return x * x;
  if constexpr (kFunction == Unary::pow) return pow_of(x, p0);
  if constexpr (kFunction == Unary::relu) return x < T(0) ? T(0) : x;
  if constexpr (kFunction == Unary::leaky_relu) {
    const T scaled = x * p0;
    return x < T(0) ? scaled : x;
  }
  if constexpr (kFunction == Unary::clamp) {
    const T raised = x < p0 ? p0 : x;
    return raised > p1 ? p1 : raised;
  }
}

template <Binary kFunction, typename T>
inline T evaluate(T a, T b, [[maybe_unused]] T p0, [[maybe_unused]] T p1) {
  if constexpr (is_written_in_vectors(kFunction)) return evaluate_double<kFunction>(a, b);
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
  if constexpr (kFunction == Binary::prelu) {
    const T scaled = a * b;
    return a > T(0) ? a : scaled;
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
}

template <Compare kFunction, typename T>
inline uint8_t evaluate(T a, T b) {
  if constexpr (kFunction == Compare::greater) return a > b;
  if constexpr (kFunction == Compare::greater_equal) return a >= b;
  if constexpr (kFunction == Compare::equal) return a == b;
}

// The loop behind it may be vectorized without asking whether the output is an input: an element is read before it is
// written, and by none but its own turn. (clang++ warns where it finds no way to vectorize; it may ask.)
#ifdef __clang__
#define THIMBLE_NO_CARRIED_DEPENDENCE
#else
#define THIMBLE_NO_CARRIED_DEPENDENCE _Pragma("GCC ivdep")
#endif

// Applies f to two operands' rows. Strides of 1 and 0 are known to the compiler in the loops that matter.
template <typename T, typename Out, typename F>
inline void for_pairs(const T* a, int64_t sa, const T* b, int64_t sb, Out* out, int64_t n, F f) {
  if (sa == 1 && sb == 1) {
    THIMBLE_NO_CARRIED_DEPENDENCE
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  } else if (sa == 1 && sb == 0) {
    const T scalar = *b;
    THIMBLE_NO_CARRIED_DEPENDENCE
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], scalar);
  } else if (sa == 0 && sb == 1) {
    const T scalar = *a;
    THIMBLE_NO_CARRIED_DEPENDENCE
    for (int64_t i = 0; i < n; ++i) out[i] = f(scalar, b[i]);
  } else {
    THIMBLE_NO_CARRIED_DEPENDENCE
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i * sa], b[i * sb]);
  }
}

// Vectors of a row whose elements lie anyhow. The last ones of a row are a whole vector, too, filled up with zeros: an
// element's result does not depend on where it lies.
template <int kCount>
[[gnu::always_inline]] inline Vector<float, kCount> load_strided(const float* p, int64_t stride, int64_t n) {
  if (stride == 1 && n == kCount) return load<kCount>(p);
  float values[kCount] = {};
  for (int64_t i = 0; i < n; ++i) values[i] = p[i * stride];
  return load<kCount>(values);
}

template <int kCount>
[[gnu::always_inline]] inline void store_first(float* p, const Vector<float, kCount>& v, int64_t n) {
  if (n == kCount) return store(p, v);
  float values[kCount];
  store(values, v);
  for (int64_t i = 0; i < n; ++i) p[i] = values[i];
}

/// Calls f(i, count) for n elements in groups of as many as a register of kBytes holds, the last of which may be
/// smaller.
template <int kBytes, typename F>
[[gnu::always_inline]] inline void for_each_register(int64_t n, F&& f) {
  constexpr int kCount = kBytes / static_cast<int>(sizeof(float));
  int64_t i = 0;
  for (; i + kCount <= n; i += kCount) f(i, kCount);
  if (i < n) f(i, n - i);
}

template <Unary kFunction, typename T, int kBytes>
void unary_row(const T* x, int64_t sx, T* out, int64_t n, T p0, T p1) {
  if constexpr (is_written_in_vectors(kFunction) && sizeof(T) == sizeof(float)) {
    constexpr int kCount = kBytes / static_cast<int>(sizeof(float));
    for_each_register<kBytes>(
        n, [=](int64_t i, int64_t count) __attribute__((always_inline)) {
          store_first<kCount>(out + i, evaluate_vector<kFunction>(load_strided<kCount>(x + i * sx, sx, count)), count);
        });
  } else if (sx == 1) {
    THIMBLE_NO_CARRIED_DEPENDENCE
    for (int64_t i = 0; i < n; ++i) out[i] = evaluate<kFunction>(x[i], p0, p1);
  } else {
    THIMBLE_NO_CARRIED_DEPENDENCE
    for (int64_t i = 0; i < n; ++i) out[i] = evaluate<kFunction>(x[i * sx], p0, p1);
  }
}

template <Binary kFunction, typename T, int kBytes>
void binary_row(const T* a, int64_t sa, const T* b, int64_t sb, T* out, int64_t n, T p0, T p1) {
  if constexpr (is_written_in_vectors(kFunction) && sizeof(T) == sizeof(float)) {
    constexpr int kCount = kBytes / static_cast<int>(sizeof(float));
    for_each_register<kBytes>(
        n, [=](int64_t i, int64_t count) __attribute__((always_inline)) {
          store_first<kCount>(out + i,
                              evaluate_vector<kFunction>(load_strided<kCount>(a + i * sa, sa, count),
                                                         load_strided<kCount>(b + i * sb, sb, count)),
                              count);
        });
  } else {
    for_pairs(a, sa, b, sb, out, n, [p0, p1](T u, T v) { return evaluate<kFunction>(u, v, p0, p1); });
  }
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
  } else if (sc == 1 && sa == 0 && sb == 1) {  // a number where there is a mask
    const T number = *a;
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i] ? number : b[i];
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i * sc] ? a[i * sa] : b[i * sb];
  }
}

template <typename T, int kBytes, int... kUnary, int... kBinary, int... kCompare>
constexpr ElementwiseRows<T> rows_of(std::integer_sequence<int, kUnary...>, std::integer_sequence<int, kBinary...>,
                                     std::integer_sequence<int, kCompare...>) {
  return {{&unary_row<static_cast<Unary>(kUnary), T, kBytes>...},
          {&binary_row<static_cast<Binary>(kBinary), T, kBytes>...},
          {&compare_row<static_cast<Compare>(kCompare), T>...},
          &where_row<T>};
}

template <typename T, int kBytes>
constexpr ElementwiseRows<T> rows() {
  return rows_of<T, kBytes>(std::make_integer_sequence<int, static_cast<int>(Unary::count)>(),
                            std::make_integer_sequence<int, static_cast<int>(Binary::count)>(),
                            std::make_integer_sequence<int, static_cast<int>(Compare::count)>());
}

template <int kBytes>
constexpr ElementwiseTable kTable{rows<float, kBytes>(), rows<double, kBytes>()};

}  // namespace
}  // namespace thimble::kernels
