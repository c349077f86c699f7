// Computing in one of three types whatever the dtype: double for floats, int64 or uint64 for integers and bools. For
// loops that are not worth an instantiation for each dtype. Internal.
#pragma once

#include <type_traits>

#include <thimble/core/kernels/elementwise/integer_binary.h>

namespace thimble::kernels {

/// Calls f with the TypeTag of the type that holds every value of the dtype.
template <typename F>
void dispatch_wide(DType dtype, F&& f) {
  if (is_floating_point(dtype)) return f(TypeTag<double>{});
  if (dtype == DType::uint64) return f(TypeTag<uint64_t>{});
  f(TypeTag<int64_t>{});
}

/// add, mul, maximum or minimum; NaN comes through.
template <typename W>
IntegerFunction<W> wide_function(IntegerBinary function) {
  if constexpr (std::is_integral_v<W>) {
    return integer_function<W>(function);
  } else {
    switch (function) {
      case IntegerBinary::add:
        return [](W a, W b) { return a + b; };
      case IntegerBinary::mul:
        return [](W a, W b) { return a * b; };
      case IntegerBinary::maximum:
        return [](W a, W b) { return a > b || a != a ? a : b; };
      default:
        return [](W a, W b) { return a < b || a != a ? a : b; };
    }
  }
}

}  // namespace thimble::kernels
