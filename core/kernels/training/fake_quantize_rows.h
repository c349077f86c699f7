// What fake quantization calls on one thread, for each instruction set. Plain data only, see int8_gemm_task.h.
#pragma once

#include <cstdint>

namespace thimble::kernels {

template <typename T>
struct FakeQuantizeRows {
  void (*forward)(const T* x, int64_t n, T scale, T low, T high, T* out);
  void (*backward)(const T* x, const T* out_grad, int64_t n, T scale, T low, T high, T* x_grad);
  double (*learned_backward)(const T* x, const T* out_grad, int64_t n, T scale, T low, T high, T* x_grad);
};

struct FakeQuantizeKernels {
  FakeQuantizeRows<float> float32;
  FakeQuantizeRows<double> float64;
};

extern const FakeQuantizeKernels fake_quantize_scalar, fake_quantize_avx2, fake_quantize_avx512;

}  // namespace thimble::kernels
