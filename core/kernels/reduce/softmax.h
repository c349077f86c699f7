// Softmax, its logarithm and the cross entropy built on it, over dense rows of classes. T is float or double.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// out[r][c] = exp(x[r][c]) / sum over c of exp(x[r][c]), without overflow.
template <typename T>
void softmax(const T* x, int64_t rows, int64_t classes, T* out);

/// The logarithm of softmax, accurate where softmax itself would round to 0.
template <typename T>
void log_softmax(const T* x, int64_t rows, int64_t classes, T* out);

/// What the gradient of a row needs again: softmax is exp(x - max) / sum.
template <typename T>
struct SoftmaxStatistics {
  T max;
  T sum;
};

/// The target of a row that does not count.
inline constexpr int64_t kIgnored = -1;

/// loss[r] = -(sum over c of t[c] * log softmax(x[r])[c]), where the target distribution t is 1 - smoothing on
/// target[r], plus smoothing / classes everywhere. Rows whose target is kIgnored have a loss of 0.
template <typename T>
void cross_entropy(const T* x, const int64_t* target, int64_t rows, int64_t classes, T smoothing, T* loss,
                   SoftmaxStatistics<T>* statistics);

/// out = (softmax(x) - t) * scale, in one pass; row r's scale is scales[r * scale_step] * factor. 0 for ignored rows.
template <typename T>
void cross_entropy_backward(const T* x, const int64_t* target, const SoftmaxStatistics<T>* statistics, int64_t rows,
                            int64_t classes, T smoothing, const T* scales, int64_t scale_step, T factor, T* out);

}  // namespace thimble::kernels
