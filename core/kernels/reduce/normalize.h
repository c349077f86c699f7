// Rows brought to mean 0 and variance 1, what layer and group normalization are made of. T is float or double.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// What a row is multiplied with and what is added to it afterwards, n elements each; null for nothing.
template <typename T>
struct Affine {
  const T *weight = nullptr, *bias = nullptr;
};

/// y[r] = (x[r] - mean) * inverse_std[r] over dense rows of n elements, inverse_std[r] = 1 / sqrt(variance + eps) with
/// the biased variance, then `affine`. Also right where squares would leave T. inverse_std may be null. x is y, or does
/// not overlap it.
template <typename T>
void normalize_rows(const T* x, int64_t rows, int64_t n, double eps, T* y, T* inverse_std,
                    const Affine<T>& affine = {});

/// The gradient of x from that of y: dx = (dy - mean(dy) - y * mean(dy * y)) * inverse_std, row by row.
template <typename T>
void normalize_rows_backward(const T* y, const T* dy, const T* inverse_std, int64_t rows, int64_t n, T* dx);

}  // namespace thimble::kernels
