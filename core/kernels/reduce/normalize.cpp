#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/reduce/normalize.h>
#include <thimble/core/kernels/reduce/normalize_rows.h>
#include <thimble/core/kernels/reduce/reduce_run.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Elements worth another thread.
constexpr int64_t kGrain = 65536;

int64_t grain(int64_t n) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n)); }

constexpr KernelOf<const NormalizeRows<float>*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &normalize_avx512}, {Isa::avx2, &normalize_avx2}){Isa::scalar, &normalize_scalar}};

// float64 is what gradient checks run in.
constexpr NormalizeRows<double> kFloat64{
    .sum = [](const double* x, int64_t n) { return reduce_run<reducers::Sum<double>>(x, n, 1, 0.0); },
    .squared_deviations =
        [](const double* x, int64_t n, double center) {
          return reduce_run<reducers::SquaredDeviations<double>>(x, n, 1, center);
        },
    .products =
        [](const double* a, const double* b, int64_t n) {
          double sum = 0;
          for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
          return sum;
        },
    .map =
        [](const double* x, int64_t n, double center, double scale, double* y) {
          for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - center) * scale;
        },
    .affine_map =
        [](const double* x, int64_t n, double center, double scale, const double* weight, const double* bias,
           double* y) {
          for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - center) * scale * weight[i] + bias[i];
        },
    .gradient =
        [](const double* y, const double* dy, int64_t n, double offset, double along, double scale, double* dx) {
          for (int64_t i = 0; i < n; ++i) dx[i] = (dy[i] - offset - y[i] * along) * scale;
        },
};

template <typename T>
const NormalizeRows<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return *best_kernel<kKernels>();
  else
    return kFloat64;
}

// Rows of n elements, one at a time. A row is read several times, but from memory only once: it is in the cache then.
template <typename T>
struct RowNormalizer {
  int64_t n;
  double eps;
  Affine<T> affine;
  const NormalizeRows<T>& kernel = kernels<T>();

  // Gives the inverse of the standard deviation.
  T run(const T* x, T* y) const {
    const T center = mean(x), square = variance(x, center);
    if (!is_accurate(center, square)) return run_with_care(x, y);
    const T inverse = inverse_std(square, eps);
    if (affine.weight)
      kernel.affine_map(x, n, center, inverse, affine.weight, affine.bias, y);
    else
      kernel.map(x, n, center, inverse, y);
    return inverse;
  }

 private:
  T mean(const T* x) const { return kernel.sum(x, n) / static_cast<T>(n); }

  // The mean of squared deviations. Infinite where they overflow.
  T variance(const T* x, T center) const { return kernel.squared_deviations(x, n, center) / static_cast<T>(n); }

  static T inverse_std(T square, double eps) {
    const double exact = 1 / std::sqrt(static_cast<double>(square) + eps);
    return static_cast<T>(std::min(exact, static_cast<double>(std::numeric_limits<T>::max())));
  }

  // Whether nothing is lost: no square overflowed, and the mean's own rounding is far below the deviations.
  static bool is_accurate(T center, T square) {
    const double rounding = 64 * double{std::numeric_limits<T>::epsilon()} * static_cast<double>(center);
    return std::isfinite(square) && static_cast<double>(square) >= rounding * rounding;
  }

  // Where something would be: values over a power of two, which is exact, and with a mean that is corrected by their
  // mean deviation.
  T run_with_care(const T* x, T* y) const {
    T largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
    // Of values near 0 not so large that it, or its square, leaves T: eps outweighs them anyway.
    constexpr int kMostExponent = std::numeric_limits<T>::max_exponent / 2 - 1;
    const bool has_unit = std::isfinite(largest) && largest > 0;
    const T unit = has_unit ? std::ldexp(T{1}, std::min(-std::ilogb(largest), kMostExponent)) : T{1};
    kernel.map(x, n, 0, unit, y);
    kernel.map(y, n, mean(y), 1, y);
    const T center = mean(y);
    const double wide_unit = static_cast<double>(unit);
    const T inverse = inverse_std(variance(y, center), eps * wide_unit * wide_unit);
    kernel.map(y, n, center, inverse, y);
    if (affine.weight) kernel.affine_map(y, n, 0, 1, affine.weight, affine.bias, y);
    return inverse * unit;
  }
};

}  // namespace

template <typename T>
void normalize_rows(const T* x, int64_t rows, int64_t n, double eps, T* y, T* inverse_std, const Affine<T>& affine) {
  const RowNormalizer<T> row{n, eps, affine};
  parallel_for(rows, grain(n), [=, &row](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T inverse = row.run(x + r * n, y + r * n);
      if (inverse_std) inverse_std[r] = inverse;
    }
  });
}

template <typename T>
void normalize_rows_backward(const T* y, const T* dy, const T* inverse_std, int64_t rows, int64_t n, T* dx) {
  const NormalizeRows<T>& kernel = kernels<T>();
  parallel_for(rows, grain(n), [=, &kernel](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *out = y + r * n, *gradient = dy + r * n, count = static_cast<T>(n);
      const T along = kernel.products(gradient, out, n) / count, offset = kernel.sum(gradient, n) / count;
      kernel.gradient(out, gradient, n, offset, along, inverse_std[r], dx + r * n);
    }
  });
}

template void normalize_rows(const float*, int64_t, int64_t, double, float*, float*, const Affine<float>&);
template void normalize_rows(const double*, int64_t, int64_t, double, double*, double*, const Affine<double>&);
template void normalize_rows_backward(const float*, const float*, const float*, int64_t, int64_t, float*);
template void normalize_rows_backward(const double*, const double*, const double*, int64_t, int64_t, double*);

}  // namespace thimble::kernels
