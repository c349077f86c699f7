#include <type_traits>

#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/reduce/partial_sums.h>
#include <thimble/core/kernels/training/fake_quantize.h>
#include <thimble/core/kernels/training/fake_quantize_rows.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const FakeQuantizeKernels*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &fake_quantize_avx512}, {Isa::avx2, &fake_quantize_avx2}){Isa::scalar, &fake_quantize_scalar}};

const FakeQuantizeKernels& kernels() { return *best_kernel<kKernels>(); }

template <typename T>
const FakeQuantizeRows<T>& rows() {
  if constexpr (std::is_same_v<T, float>)
    return kernels().float32;
  else
    return kernels().float64;
}

// Elements that take a thread some microseconds.
constexpr int64_t kGrain = 32 * 1024;

}  // namespace

template <typename T>
void fake_quantize(const T* x, int64_t n, const FakeQuantizeArgs<T>& a, T* out) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    rows<T>().forward(x + begin, end - begin, a.scale, a.low, a.high, out + begin);
  });
}

template <typename T>
void fake_quantize_backward(const T* x, const T* out_grad, int64_t n, const FakeQuantizeArgs<T>& a, T* x_grad) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    rows<T>().backward(x + begin, out_grad + begin, end - begin, a.scale, a.low, a.high, x_grad + begin);
  });
}

template <typename T>
double learned_fake_quantize_backward(const T* x, const T* out_grad, int64_t n, const FakeQuantizeArgs<T>& a,
                                      T* x_grad) {
  double scale_grad = 0;
  sum_in_shards<double>(n, kGrain, 1, &scale_grad, [&](int64_t begin, int64_t end, double* sum) {
    // In blocks, since float sums of many elements lose digits.
    constexpr int64_t kBlock = 4096;
    *sum = 0;
    for (int64_t i = begin; i < end; i += kBlock)
      *sum += rows<T>().learned_backward(x + i, out_grad + i, std::min(kBlock, end - i), a.scale, a.low, a.high,
                                         x_grad + i);
  });
  return scale_grad;
}

template void fake_quantize(const float*, int64_t, const FakeQuantizeArgs<float>&, float*);
template void fake_quantize(const double*, int64_t, const FakeQuantizeArgs<double>&, double*);
template void fake_quantize_backward(const float*, const float*, int64_t, const FakeQuantizeArgs<float>&, float*);
template void fake_quantize_backward(const double*, const double*, int64_t, const FakeQuantizeArgs<double>&, double*);
template double learned_fake_quantize_backward(const float*, const float*, int64_t, const FakeQuantizeArgs<float>&,
                                               float*);
template double learned_fake_quantize_backward(const double*, const double*, int64_t, const FakeQuantizeArgs<double>&,
                                               double*);

}  // namespace thimble::kernels
