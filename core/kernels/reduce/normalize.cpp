#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/reduce/normalize.h>
#include <thimble/core/kernels/reduce/reduce_run.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Elements worth another thread.
constexpr int64_t kGrain = 16384;

int64_t grain(int64_t n) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n)); }

template <typename T>
T mean(const T* x, int64_t n) {
  return reduce_run<reducers::Sum<T>>(x, n, 1, T{0}) / static_cast<T>(n);
}

// The mean of squared deviations. Infinite where they overflow.
template <typename T>
T variance(const T* x, int64_t n, T center) {
  return reduce_run<reducers::SquaredDeviations<T>>(x, n, 1, center) / static_cast<T>(n);
}

template <typename T>
T normalize(const T* x, int64_t n, T center, T square, double eps, T* y) {
  const double exact = 1 / std::sqrt(static_cast<double>(square) + eps);
  const T inverse = static_cast<T>(std::min(exact, static_cast<double>(std::numeric_limits<T>::max())));
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - center) * inverse;
  return inverse;
}

// Whether the above loses nothing: no square overflowed, and the mean's own rounding is far below the deviations.
template <typename T>
bool is_accurate(T center, T square) {
  const double rounding = 64 * double{std::numeric_limits<T>::epsilon()} * static_cast<double>(center);
  return std::isfinite(square) && static_cast<double>(square) >= rounding * rounding;
}

// Where it would: values over a power of two, which is exact, and with a mean that is corrected by their mean
// deviation.
template <typename T>
T normalize_with_care(const T* x, int64_t n, double eps, T* y) {
  T largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  // Of values near 0 not so large that it, or its square, leaves T: eps outweighs them anyway.
  constexpr int kMostExponent = std::numeric_limits<T>::max_exponent / 2 - 1;
  const bool has_unit = std::isfinite(largest) && largest > 0;
  const T unit = has_unit ? std::ldexp(T{1}, std::min(-std::ilogb(largest), kMostExponent)) : T{1};
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * unit;
  T center = mean(y, n);
  for (int64_t i = 0; i < n; ++i) y[i] -= center;
  center = mean(y, n);
  return normalize(y, n, center, variance(y, n, center), eps * static_cast<double>(unit) * static_cast<double>(unit),
                   y) *
         unit;
}

}  // namespace

template <typename T>
void normalize_rows(const T* x, int64_t rows, int64_t n, double eps, T* y, T* inverse_std) {
  parallel_for(rows, grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *row = x + r * n, center = mean(row, n), square = variance(row, n, center);
      inverse_std[r] = is_accurate(center, square) ? normalize(row, n, center, square, eps, y + r * n)
                                                   : normalize_with_care(row, n, eps, y + r * n);
    }
  });
}

template <typename T>
void normalize_rows_backward(const T* y, const T* dy, const T* inverse_std, int64_t rows, int64_t n, T* dx) {
  parallel_for(rows, grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *out = y + r * n, *gradient = dy + r * n;
      T* to = dx + r * n;
      for (int64_t i = 0; i < n; ++i) to[i] = gradient[i] * out[i];
      const T along = mean(to, n), offset = mean(gradient, n), scale = inverse_std[r];
      for (int64_t i = 0; i < n; ++i) to[i] = (gradient[i] - offset - out[i] * along) * scale;
    }
  });
}

template void normalize_rows(const float*, int64_t, int64_t, double, float*, float*);
template void normalize_rows(const double*, int64_t, int64_t, double, double*, double*);
template void normalize_rows_backward(const float*, const float*, const float*, int64_t, int64_t, float*);
template void normalize_rows_backward(const double*, const double*, const double*, int64_t, int64_t, double*);

}  // namespace thimble::kernels
