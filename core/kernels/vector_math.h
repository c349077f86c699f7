// Transcendental functions of vectors of floats (vectors.h), of any length. Every instruction set gives the same
// bits: there are the four operations alone, each rounded once, and no fused ones, which SSE2 lacks. A lane's result
// depends on its own x. NaN goes through; infinities, overflow, denormal numbers and -0 are as in the C library.
//
// Errors are in units in the last place (of denormal results, too), the largest over all 2^32 floats; silu's over every
// 997th (tests/core/kernels/elementwise/vector_math_test.cpp). Coefficients come from scripts/fit-vector-math.
#pragma once

#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

/// The vector of int32 as long as V.
template <typename V>
using IntsOf = decltype(V{} < V{});

template <typename V>
[[gnu::always_inline]] inline IntsOf<V> bits_of(V x) {
  return __builtin_bit_cast(IntsOf<V>, x);
}
template <typename V>
[[gnu::always_inline]] inline V from_bits(IntsOf<V> bits) {
  return __builtin_bit_cast(V, bits);
}

template <typename V>
[[gnu::always_inline]] inline V all(float value) {
  return V{} + value;
}

template <typename V>
[[gnu::always_inline]] inline V absolute(V x) {
  return from_bits<V>(bits_of(x) & 0x7fffffff);
}
/// x, not negative, with the sign of another.
template <typename V>
[[gnu::always_inline]] inline V with_sign(V x, V sign) {
  return from_bits<V>(bits_of(x) | (bits_of(sign) & ~0x7fffffff));
}
/// NaN stays.
template <typename V>
[[gnu::always_inline]] inline V at_most(V x, float most) {
  return x > most ? all<V>(most) : x;
}

/// 2^n for n in [-126, 127].
template <typename V>
[[gnu::always_inline]] inline V power_of_two(IntsOf<V> n) {
  return from_bits<V>((n + 127) << 23);
}

/// c[0] + c[1] x + c[2] x^2 + ...
template <typename V, int kSize>
[[gnu::always_inline]] inline V polynomial(V x, const float (&c)[kSize]) {
  V sum = all<V>(c[kSize - 1]);
#pragma GCC unroll 16
  for (int i = kSize - 2; i >= 0; --i) sum = sum * x + c[i];
  return sum;
}

// ln 2 in two parts, of which the first times n is exact.
constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;

/// x = n ln 2 + r, with |r| <= ln 2 / 2, for |x| below 2^15 or so.
template <typename V>
struct Reduced {
  IntsOf<V> n;
  V r;
};

template <typename V>
[[gnu::always_inline]] inline Reduced<V> reduced(V x) {
  // A number of this size has no place for a fraction: the sum is rounded to one without.
  constexpr float kShift = 0x1.8p23f, kLog2E = 0x1.715476p0f;
  const V shifted = x * kLog2E + kShift, n = shifted - kShift;
  return {bits_of(shifted) - 0x4b400000, (x - n * kLn2High) - n * kLn2Low};
}

/// e^r - 1 for such r.
template <typename V>
[[gnu::always_inline]] inline V expm1_of_reduced(V r) {
  constexpr float kPolynomial[] = {0x1.fffffcp-2f, 0x1.555494p-3f, 0x1.5558bep-5f, 0x1.123856p-7f, 0x1.6a3d08p-10f};
  return r + r * r * polynomial(r, kPolynomial);
}

/// e^x = (1 + expm1) * a * b, where a and b are powers of two, nearly of one size. Multiplied with b last, a product
/// that is no normal number is rounded once.
template <typename V>
struct ExpParts {
  V expm1;
  IntsOf<V> exponent_of_a, exponent_of_b;

  [[gnu::always_inline]] V a() const { return power_of_two<V>(exponent_of_a); }
  [[gnu::always_inline]] V b() const { return power_of_two<V>(exponent_of_b); }
  [[gnu::always_inline]] V inverse_b() const { return power_of_two<V>(-exponent_of_b); }
};

template <typename V>
[[gnu::always_inline]] inline ExpParts<V> exp_parts(Reduced<V> x) {
  const IntsOf<V> half = x.n >> 1;
  return {expm1_of_reduced(x.r), half, x.n - half};
}

/// To 1 unit.
template <typename V>
[[gnu::always_inline]] inline V vector_exp(V x) {
  // Products that end below all numbers take some CPUs a hundred cycles, and masks make many of them.
  const auto vanishes = x < -104.0f;
  const ExpParts<V> e = exp_parts(reduced(vanishes ? V{} : at_most(x, 89)));
  return vanishes ? V{} : (e.expm1 + 1.0f) * e.a() * e.b();
}

/// The natural logarithm, to 0.95 units.
template <typename V>
[[gnu::always_inline]] inline V vector_log(V x) {
  constexpr float kPolynomial[] = {0x1.555554p-2f, -0x1.000226p-2f, 0x1.99a01cp-3f, -0x1.54728ap-3f,
                                   0x1.22d93p-3f,  -0x1.0d8246p-3f, 0x1.055eaep-3f, -0x1.38c974p-4f};
  const auto is_denormal = x < 0x1p-126f;
  const IntsOf<V> bits = bits_of(is_denormal ? x * 0x1p23f : x);
  // x = 2^n (1 + f) with 1 + f between the roots of 1/2 and 2.
  const IntsOf<V> n = (bits - 0x3f3504f3) >> 23;
  const V f = from_bits<V>(bits - (n << 23)) - 1.0f;
  const V exponent = __builtin_convertvector(n + (is_denormal & -23), V);
  const V square = f * f;
  const V small = exponent * kLn2Low - 0.5f * square + square * f * polynomial(f, kPolynomial);
  const V result = f + small + exponent * kLn2High;
  constexpr float kInfinity = __builtin_inff();
  const V positive = x < kInfinity ? result : x;
  const V outside = x == 0.0f ? all<V>(-kInfinity) : all<V>(__builtin_nanf(""));
  return x <= 0.0f ? outside : positive;
}

/// To 1.2 units.
template <typename V>
[[gnu::always_inline]] inline V vector_tanh(V x) {
  // Powers of x^2 near 0, where 1 - 2 / (e^2x + 1) would cancel.
  constexpr float kNear[] = {-0x1.555532p-2f, 0x1.1106f6p-3f, -0x1.b835a4p-5f, 0x1.51f8cep-6f, -0x1.750ce4p-8f};
  const V size = absolute(x), square = size * size;
  const V near = size + size * square * polynomial(square, kNear);
  const Reduced<V> y = reduced(at_most(size, 10) * 2.0f);
  const V scale = power_of_two<V>(y.n);
  const V far = 1.0f - 2.0f / (expm1_of_reduced(y.r) * scale + (scale + 1.0f));
  return with_sign(size < 0.625f ? near : far, x);
}

/// y / (1 + e^-x) for x in [-110, 110].
template <typename V>
[[gnu::always_inline]] inline V over_one_plus_exp(V y, V x) {
  const ExpParts<V> e = exp_parts(reduced(-x));
  const V a = e.a(), inverse_b = e.inverse_b();
  // Where one of the powers is 2^24 times the other their sum is rounded by half a unit, too much for 2 in the result.
  const V sum = a + inverse_b, rounded_by = inverse_b - (sum - a);
  return y / ((e.expm1 * a + rounded_by) + sum) * inverse_b;
}

/// 1 / (1 + e^-x), to 1.75 units.
template <typename V>
[[gnu::always_inline]] inline V vector_sigmoid(V x) {
  const auto vanishes = x < -104.0f;
  const V result = over_one_plus_exp(all<V>(1), vanishes ? V{} : at_most(x, 104));
  return vanishes ? V{} : result;
}

/// x / (1 + e^-x), to 1.6 units.
template <typename V>
[[gnu::always_inline]] inline V vector_silu(V x) {
  const auto vanishes = x < -110.0f;
  const V bounded = vanishes ? V{} : at_most(x, 110);
  const V result = over_one_plus_exp(x, bounded);
  return vanishes ? x * 0.0f : result;
}

/// To 1.35 units.
template <typename V>
[[gnu::always_inline]] inline V vector_erf(V x) {
  constexpr float kNear[] = {0x1.06eba8p-3f, -0x1.81273ep-2f,  0x1.ce2ce6p-4f, -0x1.b7f71ap-6f,
                             0x1.53f224p-8f, -0x1.a3515ep-11f, 0x1.4771fcp-14f};
  // -log(1 - erf)
  constexpr float kFar[] = {0x1.18206p-13f,  0x1.20c06cp0f,  0x1.46026cp-1f,  0x1.ab5358p-4f,
                            -0x1.6f555cp-6f, 0x1.9550c4p-9f, -0x1.a58704p-13f};
  const V size = absolute(x), bounded = at_most(size, 4);
  const V near = size + size * polynomial(size * size, kNear);
  const ExpParts<V> e = exp_parts(reduced(-polynomial(bounded, kFar)));
  const V far = 1.0f - (e.expm1 + 1.0f) * power_of_two<V>(e.exponent_of_a + e.exponent_of_b);
  return with_sign(size < 1.0f ? near : far, x);
}

// The standard normal distribution function of -t is e^(-t^2 / 2) * tail_ratio(t / (t + kTailShift)) / (t +
// kTailShift), for t in [0, kTailEnd].
constexpr float kTailEnd = 14.5f, kTailShift = 2.5f;

template <typename V>
[[gnu::always_inline]] inline V tail_ratio(V y) {
  constexpr float kPolynomial[] = {0x1.69cee6p-1f,  -0x1.bc19cap-1f, 0x1.0e4fb8p-1f, 0x1.2eb334p-4f,  -0x1.0c987ap-2f,
                                   -0x1.a60f32p-5f, 0x1.4d4a04p-3f,  0x1.71115ep-4f, -0x1.566d6ap-4f, -0x1.69952cp-4f};
  return polynomial(y - 0.5f, kPolynomial);
}

template <typename V>
[[gnu::always_inline]] inline ExpParts<V> exp_of_half_square(V t) {
  // The square in two parts, of which the first is exact.
  const V high = from_bits<V>(bits_of(t) & ~0xfff);
  Reduced<V> x = reduced(high * high * -0.5f);
  x.r += (t - high) * (t + high) * -0.5f;
  return exp_parts(x);
}

/// x Phi(x), where Phi is the standard normal distribution function, to 3.5 units: 2 for x above -0.5.
template <typename V>
[[gnu::always_inline]] inline V vector_gelu(V x) {
  const V t = at_most(absolute(x), kTailEnd);
  const ExpParts<V> e = exp_of_half_square(t);
  const V y = t / (t + kTailShift), ratio = y * tail_ratio(y);
  const V below = (ratio + ratio * e.expm1) * e.a() * e.b();
  const V negative = x < -kTailEnd ? x * 0.0f : -below;
  const V far = x > 0.0f ? x - below : negative;
  // Near 0, where that loses a digit, Phi(x) = 1 / 2 + x p(x^2).
  constexpr float kNear[] = {0x1.988454p-2f, -0x1.10588ep-4f, 0x1.46e526p-7f, -0x1.38ec66p-10f, 0x1.e9f24ep-14f};
  const V near = x * (x * polynomial(x * x, kNear) + 0.5f);
  return t < 0.625f ? near : far;
}

/// To a few units of the larger of its two terms, which cancel near its zero at -0.75.
template <typename V>
[[gnu::always_inline]] inline V vector_gelu_derivative(V x) {
  const V size = absolute(x), t = at_most(size, kTailEnd);
  const ExpParts<V> e = exp_of_half_square(t);
  const V inverse = 1.0f / (t + kTailShift);
  const V terms = inverse * tail_ratio(t * inverse) - t * 0x1.988454p-2f;
  const V tail = (terms + terms * e.expm1) * e.a() * e.b();
  const V below = size > kTailEnd ? x * 0.0f : tail;
  return x >= 0.0f ? 1.0f - below : below;
}

/// To a few units of the larger of its two terms, which cancel near its zero at -1.28.
template <typename V>
[[gnu::always_inline]] inline V vector_silu_derivative(V x) {
  // 1 - sigmoid(x) would lose its digits where x is large.
  const V small = vector_sigmoid(-absolute(x)), large = 1.0f - small;
  const V s = x >= 0.0f ? large : small, rest = x >= 0.0f ? small : large;
  return s * (1.0f + x * rest);
}

}  // namespace
}  // namespace thimble::kernels
