#include <algorithm>
#include <cmath>

#include <thimble/core/kernels/reduce/reduce_run.h>
#include <thimble/core/kernels/reduce/softmax.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Exponentials that are worth handing to another thread.
constexpr int64_t kGrain = 4096;

template <typename Row>
void for_rows(int64_t rows, int64_t classes, Row&& row) {
  parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, classes)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) row(r);
  });
}

template <typename T>
T row_max(const T* x, int64_t n) {
  return reduce_run<reducers::Max<T>>(x, n, 1, T{0});
}

template <typename T>
SoftmaxStatistics<T> row_statistics(const T* x, int64_t n) {
  const T max = row_max(x, n);
  return {max, reduce_run<reducers::Exponentials<T>>(x, n, 1, max)};
}

}  // namespace

template <typename T>
void softmax(const T* x, int64_t rows, int64_t classes, T* out) {
  for_rows(rows, classes, [=](int64_t r) {
    const T* row = x + r * classes;
    T* to = out + r * classes;
    const T max = row_max(row, classes);
    for (int64_t c = 0; c < classes; ++c) to[c] = std::exp(row[c] - max);
    const T sum = reduce_run<reducers::Sum<T>>(to, classes, 1, T{0});
    for (int64_t c = 0; c < classes; ++c) to[c] /= sum;
  });
}

template <typename T>
void log_softmax(const T* x, int64_t rows, int64_t classes, T* out) {
  for_rows(rows, classes, [=](int64_t r) {
    const T* row = x + r * classes;
    const SoftmaxStatistics<T> s = row_statistics(row, classes);
    const T log_sum = std::log(s.sum);
    for (int64_t c = 0; c < classes; ++c) out[r * classes + c] = row[c] - s.max - log_sum;
  });
}

template <typename T>
void cross_entropy(const T* x, const int64_t* target, int64_t rows, int64_t classes, T smoothing, T* loss,
                   SoftmaxStatistics<T>* statistics) {
  for_rows(rows, classes, [=](int64_t r) {
    if (target[r] == kIgnored) {
      loss[r] = 0;
      return;
    }
    const T* row = x + r * classes;
    const SoftmaxStatistics<T> s = row_statistics(row, classes);
    const T log_sum = std::log(s.sum);
    statistics[r] = s;
    loss[r] = s.max - row[target[r]] + log_sum;
    if (smoothing == 0) return;  // an infinite logit of another class must not give 0 * inf
    const T n = static_cast<T>(classes);
    const T mean = s.max - reduce_run<reducers::Sum<T>>(row, classes, 1, T{0}) / n + log_sum;
    loss[r] = (1 - smoothing) * loss[r] + smoothing * mean;
  });
}

template <typename T>
void cross_entropy_backward(const T* x, const int64_t* target, const SoftmaxStatistics<T>* statistics, int64_t rows,
                            int64_t classes, T smoothing, const T* scales, int64_t scale_step, T factor, T* out) {
  for_rows(rows, classes, [=](int64_t r) {
    const T* row = x + r * classes;
    T* to = out + r * classes;
    if (target[r] == kIgnored) {
      std::fill_n(to, classes, T{0});
      return;
    }
    const T scale = scales[r * scale_step] * factor, everywhere = smoothing / static_cast<T>(classes);
    const auto [max, sum] = statistics[r];
    for (int64_t c = 0; c < classes; ++c) to[c] = (std::exp(row[c] - max) / sum - everywhere) * scale;
    to[target[r]] -= (1 - smoothing) * scale;
  });
}

template void softmax(const float*, int64_t, int64_t, float*);
template void log_softmax(const float*, int64_t, int64_t, float*);
template void cross_entropy(const float*, const int64_t*, int64_t, int64_t, float, float*, SoftmaxStatistics<float>*);
template void cross_entropy_backward(const float*, const int64_t*, const SoftmaxStatistics<float>*, int64_t, int64_t,
                                     float, const float*, int64_t, float, float*);
template void softmax(const double*, int64_t, int64_t, double*);
template void log_softmax(const double*, int64_t, int64_t, double*);
template void cross_entropy(const double*, const int64_t*, int64_t, int64_t, double, double*,
                            SoftmaxStatistics<double>*);
template void cross_entropy_backward(const double*, const int64_t*, const SoftmaxStatistics<double>*, int64_t, int64_t,
                                     double, const double*, int64_t, double, double*);

}  // namespace thimble::kernels
