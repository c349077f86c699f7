#include <algorithm>
#include <cmath>

#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/reduce/reduce_run.h>
#include <thimble/core/kernels/reduce/softmax_rows.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Exponentials that are worth handing to another thread.
constexpr int64_t kGrain = 32768;

template <typename Row>
void for_rows(int64_t rows, int64_t classes, Row&& row) {
  parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, classes)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) row(r);
  });
}

constexpr KernelOf<const SoftmaxRows<float>*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &softmax_avx512}, {Isa::avx2, &softmax_avx2}){Isa::scalar, &softmax_scalar}};

// float64 is what gradient checks run in: the C library's exponential, one at a time.
constexpr SoftmaxRows<double> kFloat64{
    .softmax =
        [](const double* x, int64_t n, double* out) {
          const double max = reduce_run<reducers::Max<double>>(x, n, 1, 0.0);
          for (int64_t i = 0; i < n; ++i) out[i] = std::exp(x[i] - max);
          const double sum = reduce_run<reducers::Sum<double>>(out, n, 1, 0.0);
          for (int64_t i = 0; i < n; ++i) out[i] /= sum;
        },
    .statistics =
        [](const double* x, int64_t n) {
          const double max = reduce_run<reducers::Max<double>>(x, n, 1, 0.0);
          return SoftmaxStatistics<double>{max, reduce_run<reducers::Exponentials<double>>(x, n, 1, max)};
        },
    .log_softmax =
        [](const double* x, int64_t n, double max, double log_sum, double* out) {
          for (int64_t i = 0; i < n; ++i) out[i] = x[i] - max - log_sum;
        },
    .gradient =
        [](const double* x, int64_t n, SoftmaxStatistics<double> s, double everywhere, double scale, double* out) {
          for (int64_t i = 0; i < n; ++i) out[i] = (std::exp(x[i] - s.max) / s.sum - everywhere) * scale;
        },
};

template <typename T>
const SoftmaxRows<T>& rows_of() {
  if constexpr (std::is_same_v<T, float>)
    return *best_kernel<kKernels>();
  else
    return kFloat64;
}

}  // namespace

template <typename T>
void softmax(const T* x, int64_t rows, int64_t classes, T* out) {
  const SoftmaxRows<T>& kernel = rows_of<T>();
  for_rows(rows, classes, [=, &kernel](int64_t r) { kernel.softmax(x + r * classes, classes, out + r * classes); });
}

template <typename T>
void log_softmax(const T* x, int64_t rows, int64_t classes, T* out) {
  const SoftmaxRows<T>& kernel = rows_of<T>();
  for_rows(rows, classes, [=, &kernel](int64_t r) {
    const T* row = x + r * classes;
    const SoftmaxStatistics<T> s = kernel.statistics(row, classes);
    kernel.log_softmax(row, classes, s.max, std::log(s.sum), out + r * classes);
  });
}

template <typename T>
void cross_entropy(const T* x, const int64_t* target, int64_t rows, int64_t classes, T smoothing, T* loss,
                   SoftmaxStatistics<T>* statistics) {
  const SoftmaxRows<T>& kernel = rows_of<T>();
  for_rows(rows, classes, [=, &kernel](int64_t r) {
    if (target[r] == kIgnored) {
      loss[r] = 0;
      return;
    }
    const T* row = x + r * classes;
    const SoftmaxStatistics<T> s = kernel.statistics(row, classes);
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
  const SoftmaxRows<T>& kernel = rows_of<T>();
  for_rows(rows, classes, [=, &kernel](int64_t r) {
    const T* row = x + r * classes;
    T* to = out + r * classes;
    if (target[r] == kIgnored) {
      std::fill_n(to, classes, T{0});
      return;
    }
    const T scale = scales[r * scale_step] * factor, everywhere = smoothing / static_cast<T>(classes);
    kernel.gradient(row, classes, statistics[r], everywhere, scale, to);
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
