// Arithmetic on integers: exact, modulo 2^bits. Internal.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/elementwise/elementwise.h>
#include <thimble/core/ndarray.h>

namespace thimble::kernels {

enum class IntegerBinary {
  add,
  sub,
  mul,
  div,  // truncates
  pow,  // 1 / base^-exponent, truncated, for an exponent below 0
  maximum,
  minimum,
  remainder,  // has the divisor's sign
  fmod,       // has the dividend's sign
  bitwise_and,
  bitwise_or,
  bitwise_xor,
  left_shift,  // by any number: 0 from the width on
  right_shift,
  count
};

inline bool is_integer(DType dtype) { return !is_floating_point(dtype) && dtype != DType::bool_; }

/// Integers and bools are computed as int64, but for uint64, which is computed as such: whatever wraps around does so
/// again when the result becomes narrower.
template <typename W>
using IntegerFunction = W (*)(W a, W b);
template <typename W>
IntegerFunction<W> integer_function(IntegerBinary function);
extern template IntegerFunction<int64_t> integer_function(IntegerBinary);
extern template IntegerFunction<uint64_t> integer_function(IntegerBinary);

/// `a` and `b` of out's dtype, an integer's or bool, broadcast to `out`. Throws ValueError for a divisor of 0.
void integer_binary(IntegerBinary function, const NDArray& a, const NDArray& b, NDArray& out);
/// a and b of one such dtype, `out` is bool.
void integer_compare(Compare function, const NDArray& a, const NDArray& b, NDArray& out);

}  // namespace thimble::kernels
