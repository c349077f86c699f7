// Fake quantization: values rounded to what quantized integers can say, but kept as floats, and its gradients.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// q = clamp(round_half_even(x / scale), low, high) counts from the zero point: low = qmin - zero_point, high = qmax -
/// zero_point. A true division, as quantize() has it, so that training sees what the integers will be;
/// torch.fake_quantize multiplies by the reciprocal, which rounds some values that lie next to the middle of two steps
/// to the other one.
template <typename T>
struct FakeQuantizeArgs {
  T scale = 1, low = 0, high = 255;
};

/// out[i] = q * scale. NaN gives low * scale. Arguments are not checked. T is float or double.
template <typename T>
void fake_quantize(const T* x, int64_t n, const FakeQuantizeArgs<T>& args, T* out);

/// The straight-through estimator (Bengio et al. 2013): x_grad[i] = out_grad[i] where x[i] rounds to a value within
/// [low, high], else 0.
template <typename T>
void fake_quantize_backward(const T* x, const T* out_grad, int64_t n, const FakeQuantizeArgs<T>& args, T* x_grad);

/// The same, and returns the gradient with respect to scale (Esser et al. 2020): the sum of out_grad[i] * (q - x[i] /
/// scale within the range, low below it, high above it). The result depends on the number of threads.
template <typename T>
double learned_fake_quantize_backward(const T* x, const T* out_grad, int64_t n, const FakeQuantizeArgs<T>& args,
                                      T* x_grad);

}  // namespace thimble::kernels
