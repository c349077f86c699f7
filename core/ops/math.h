// More functions of each element. x is float32 or float64, and operands of one dtype broadcast as in NumPy, unless told
// otherwise; names and defaults are PyTorch's. Throw DTypeError for other dtypes, ShapeError for shapes that do not
// fit.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

THIMBLE_API Tensor sin(const Tensor& x);
THIMBLE_API Tensor cos(const Tensor& x);
THIMBLE_API Tensor tan(const Tensor& x);
THIMBLE_API Tensor asin(const Tensor& x);
THIMBLE_API Tensor acos(const Tensor& x);
THIMBLE_API Tensor atan(const Tensor& x);
THIMBLE_API Tensor sinh(const Tensor& x);
THIMBLE_API Tensor cosh(const Tensor& x);
THIMBLE_API Tensor asinh(const Tensor& x);
THIMBLE_API Tensor acosh(const Tensor& x);
THIMBLE_API Tensor atanh(const Tensor& x);
/// log(1 + x), to the last digit where x is small, too.
THIMBLE_API Tensor log1p(const Tensor& x);
/// exp(x) - 1, to the last digit where x is small, too.
THIMBLE_API Tensor expm1(const Tensor& x);

// Made of others.

THIMBLE_API Tensor log2(const Tensor& x);
THIMBLE_API Tensor log10(const Tensor& x);
/// x * x
THIMBLE_API Tensor square(const Tensor& x);
/// 1 / x
THIMBLE_API Tensor reciprocal(const Tensor& x);
/// 1 / sqrt(x)
THIMBLE_API Tensor rsqrt(const Tensor& x);

// Steps, whose gradient is 0.

THIMBLE_API Tensor ceil(const Tensor& x);
THIMBLE_API Tensor floor(const Tensor& x);
/// To the nearest whole number, halves to even ones.
THIMBLE_API Tensor round(const Tensor& x);
/// -1, 0 or 1, of integers, too; NaN stays.
THIMBLE_API Tensor sign(const Tensor& x);

/// log(1 + exp(beta x)) / beta, and x itself where beta x is above the threshold.
THIMBLE_API Tensor softplus(const Tensor& x, double beta = 1, double threshold = 20);
/// x / (1 + |x|)
THIMBLE_API Tensor softsign(const Tensor& x);
/// x above 0, else alpha (exp(x) - 1) (Clevert et al. 2015).
THIMBLE_API Tensor elu(const Tensor& x, double alpha = 1);
/// scale * elu(x, alpha) (Klambauer et al. 2017).
THIMBLE_API Tensor selu(const Tensor& x, double alpha = 1.6732632423543772848, double scale = 1.0507009873554804934);
/// x above 0, else alpha (exp(x / alpha) - 1) (Barron 2017).
THIMBLE_API Tensor celu(const Tensor& x, double alpha = 1);
/// x tanh(softplus(x)) (Misra 2019).
THIMBLE_API Tensor mish(const Tensor& x);
/// PyTorch's gelu of approximate="tanh".
THIMBLE_API Tensor gelu_tanh(const Tensor& x);
/// x above the threshold, else value.
THIMBLE_API Tensor threshold(const Tensor& x, double threshold, double value);
/// x where |x| > lambd, else 0.
THIMBLE_API Tensor hardshrink(const Tensor& x, double lambd = 0.5);
/// x - lambd above lambd, x + lambd below -lambd, else 0.
THIMBLE_API Tensor softshrink(const Tensor& x, double lambd = 0.5);
/// x above 0, else weight * x. weight has one element, or one for each channel, x's second dimension.
THIMBLE_API Tensor prelu(const Tensor& x, const Tensor& weight);
/// The first half of x along axis, times the sigmoid of the second (Dauphin et al. 2016). Throws ShapeError for an axis
/// of an odd size.
THIMBLE_API Tensor glu(const Tensor& x, int64_t axis = -1);

/// The remainder of a / b that has b's sign, as % in Python. Integers, too: ValueError for a divisor of 0.
THIMBLE_API Tensor remainder(const Tensor& a, const Tensor& b);
/// The remainder that has a's sign, as % in C.
THIMBLE_API Tensor fmod(const Tensor& a, const Tensor& b);

}  // namespace thimble
