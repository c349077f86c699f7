#include <cmath>
#include <limits>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/inverse_std.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

namespace {

// For each of the largest magnitudes a power of two that brings it near 1 where squares could overflow, else 1.
// Undefined if all are 1.
NDArray units_for(NDArray largest) {
  bool any = false;
  dispatch_float(largest.dtype(), "inverse_std", [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int kMostExponent = std::numeric_limits<T>::max_exponent / 4;
    T* values = largest.data<T>();
    for (int64_t i = 0; i < largest.numel(); ++i) {
      const bool is_large = std::isfinite(values[i]) && values[i] > std::ldexp(T{1}, kMostExponent);
      values[i] = is_large ? std::ldexp(T{1}, -std::ilogb(values[i])) : T{1};
      any = any || is_large;
    }
  });
  return any ? largest : NDArray();
}

}  // namespace

Tensor inverse_std(const Tensor& centred, const Shape& axes, double eps) {
  if (centred.numel() == 0) return 1.0 / sqrt(mean(centred * centred, axes, true) + eps);
  const NDArray units = units_for(max(abs(centred.detach()), axes, true).data());
  if (!units.defined()) return 1.0 / sqrt(mean(centred * centred, axes, true) + eps);
  const Tensor unit(units), scaled = centred * unit;
  return unit / sqrt(mean(scaled * scaled, axes, true) + unit * unit * eps);
}

}  // namespace thimble
