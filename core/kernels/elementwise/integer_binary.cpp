#include <algorithm>
#include <limits>

#include <thimble/core/kernels/elementwise/integer_binary.h>

namespace thimble::kernels {

namespace {

template <typename T>
T quotient(T a, T b) {
  check<ValueError>(b != 0, "div: an integer is divided by 0");
  // The one quotient that does not fit wraps around, as a product would.
  return b == -1 ? static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a)) : static_cast<T>(a / b);
}

template <typename T>
T result(Binary function, T a, T b) {
  using U = std::make_unsigned_t<T>;  // whose overflow is defined
  const U x = static_cast<U>(a), y = static_cast<U>(b);
  switch (function) {
    case Binary::add:
      return static_cast<T>(x + y);
    case Binary::sub:
      return static_cast<T>(x - y);
    case Binary::mul:
      return static_cast<T>(x * y);
    case Binary::div:
      return quotient(a, b);
    case Binary::maximum:
      return std::max(a, b);
    default:
      return std::min(a, b);
  }
}

template <typename T>
void run(Binary function, const NDArray& a, const NDArray& b, NDArray& out) {
  NDArray values(out.shape(), out.dtype());
  T* to = values.data<T>();
  const NDArray x = a.broadcast_to(out.shape()).contiguous(), y = b.broadcast_to(out.shape()).contiguous();
  const T *from_x = x.data<T>(), *from_y = y.data<T>();
  for (int64_t i = 0; i < values.numel(); ++i) to[i] = result(function, from_x[i], from_y[i]);
  out.copy_from(values);
}

}  // namespace

bool has_integer_binary(Binary function, DType dtype) {
  return (dtype == DType::int64 || dtype == DType::int32) &&
         (function <= Binary::div || function == Binary::maximum || function == Binary::minimum);
}

void integer_binary(Binary function, const NDArray& a, const NDArray& b, NDArray& out) {
  if (out.dtype() == DType::int64)
    run<int64_t>(function, a, b, out);
  else
    run<int32_t>(function, a, b, out);
}

}  // namespace thimble::kernels
