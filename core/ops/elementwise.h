// Elementwise ops. Operands are float32 or float64, all of one dtype, and broadcast as in NumPy; a number (without
// dimensions) takes the other operand's dtype. add, sub, mul, div, maximum, minimum, pow, neg, abs and relu also take
// integers: exact, modulo 2^bits; div truncates, and throws ValueError for a divisor of 0. Throw ShapeError if they
// cannot be broadcast together, DTypeError if their dtypes differ or are not differentiable.
//
// More functions are in core/ops/math.h and core/ops/logic.h.
#pragma once

#include <limits>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

THIMBLE_API Tensor add(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor sub(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor mul(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor div(const Tensor& a, const Tensor& b);
/// Of base's dtype, whatever the exponent's: integers to a power of floats are truncated.
THIMBLE_API Tensor pow(const Tensor& base, const Tensor& exponent);
THIMBLE_API Tensor pow(const Tensor& base, double exponent);
/// Where both are equal, each gets half of the gradient, as in PyTorch.
THIMBLE_API Tensor maximum(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor minimum(const Tensor& a, const Tensor& b);
/// relu(a + b) in one pass over memory.
THIMBLE_API Tensor add_relu(const Tensor& a, const Tensor& b);

THIMBLE_API Tensor neg(const Tensor& x);
THIMBLE_API Tensor abs(const Tensor& x);
THIMBLE_API Tensor exp(const Tensor& x);
THIMBLE_API Tensor log(const Tensor& x);
THIMBLE_API Tensor sqrt(const Tensor& x);
THIMBLE_API Tensor tanh(const Tensor& x);
/// The error function.
THIMBLE_API Tensor erf(const Tensor& x);
THIMBLE_API Tensor sigmoid(const Tensor& x);
THIMBLE_API Tensor relu(const Tensor& x);
/// min(max(x, 0), 6)
THIMBLE_API Tensor relu6(const Tensor& x);
THIMBLE_API Tensor leaky_relu(const Tensor& x, double negative_slope = 0.01);
/// x * Phi(x) with the exact normal distribution function (PyTorch's approximate="none").
THIMBLE_API Tensor gelu(const Tensor& x);
/// x * sigmoid(x)
THIMBLE_API Tensor silu(const Tensor& x);
/// clamp(x + 3, 0, 6) / 6
THIMBLE_API Tensor hardsigmoid(const Tensor& x);
/// x * hardsigmoid(x), as in MobileNetV3 (Howard et al. 2019).
THIMBLE_API Tensor hardswish(const Tensor& x);
/// Throws ValueError if min > max. The gradient is 1 within [min, max], bounds included.
THIMBLE_API Tensor clamp(const Tensor& x, double min = -std::numeric_limits<double>::infinity(),
                         double max = std::numeric_limits<double>::infinity());

/// a where condition is not 0, else b, of any dtype; condition is uint8 or bool, and broadcasts with a and b.
THIMBLE_API Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
/// x, and value where mask, bool or uint8, is not 0; the mask broadcasts to x. Throws ShapeError if it does not.
THIMBLE_API Tensor masked_fill(const Tensor& x, const Tensor& mask, double value);

/// Comparisons of floats, integers or bools give bools, through which no gradient flows; with NaN they are false, but
/// not_equal() is true.
THIMBLE_API Tensor greater(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor greater_equal(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor equal(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor not_equal(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor less(const Tensor& a, const Tensor& b);
THIMBLE_API Tensor less_equal(const Tensor& a, const Tensor& b);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }
/// A number takes the tensor's dtype.
inline Tensor operator+(const Tensor& a, double b) { return add(a, Tensor::scalar(b, a.dtype())); }
inline Tensor operator-(const Tensor& a, double b) { return sub(a, Tensor::scalar(b, a.dtype())); }
inline Tensor operator*(const Tensor& a, double b) { return mul(a, Tensor::scalar(b, a.dtype())); }
inline Tensor operator/(const Tensor& a, double b) { return div(a, Tensor::scalar(b, a.dtype())); }
inline Tensor operator+(double a, const Tensor& b) { return add(Tensor::scalar(a, b.dtype()), b); }
inline Tensor operator-(double a, const Tensor& b) { return sub(Tensor::scalar(a, b.dtype()), b); }
inline Tensor operator*(double a, const Tensor& b) { return mul(Tensor::scalar(a, b.dtype()), b); }
inline Tensor operator/(double a, const Tensor& b) { return div(Tensor::scalar(a, b.dtype()), b); }

/// a's values changed in place, as PyTorch does, for all handles of this tensor and arrays that share its memory; b
/// broadcasts to a. Throws ValueError where that would be recorded: a = a + b is what a graph takes, and parameters
/// change under no_grad(). Throws ShapeError if b does not broadcast to a, DTypeError as a + b.
THIMBLE_API const Tensor& operator+=(const Tensor& a, const Tensor& b);
THIMBLE_API const Tensor& operator-=(const Tensor& a, const Tensor& b);
THIMBLE_API const Tensor& operator*=(const Tensor& a, const Tensor& b);
THIMBLE_API const Tensor& operator/=(const Tensor& a, const Tensor& b);
inline const Tensor& operator+=(const Tensor& a, double b) { return a += Tensor::scalar(b, a.dtype()); }
inline const Tensor& operator-=(const Tensor& a, double b) { return a -= Tensor::scalar(b, a.dtype()); }
inline const Tensor& operator*=(const Tensor& a, double b) { return a *= Tensor::scalar(b, a.dtype()); }
inline const Tensor& operator/=(const Tensor& a, double b) { return a /= Tensor::scalar(b, a.dtype()); }

}  // namespace thimble
