// The loops of fake quantization, which the compiler vectorizes for the instruction set of each file that includes
// them. In an anonymous namespace, so that each has its own copy.
#pragma once

#include <thimble/core/kernels/training/fake_quantize_rows.h>

namespace thimble::kernels {
namespace {

// Adding and subtracting it rounds a magnitude below a quarter of it (values are clamped) half to even.
template <typename T>
constexpr T kRoundToEven = sizeof(T) == 4 ? T{12582912.0} : T{6755399441055744.0};

template <typename T>
[[gnu::always_inline]] inline T rounded(T v) {
  return (v + kRoundToEven<T>)-kRoundToEven<T>;
}

// Written so that NaN becomes low.
template <typename T>
[[gnu::always_inline]] inline T clamp_between(T v, T low, T high) {
  const T above = v > low ? v : low;
  return above < high ? above : high;
}

template <typename T>
void forward_loop(const T* __restrict x, int64_t n, T scale, T low, T high, T* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] = rounded(clamp_between(x[i] / scale, low, high)) * scale;
}

// One more than the range to each side, so that rounding is defined for all values.
template <typename T>
[[gnu::always_inline]] inline bool is_inside(T steps, T low, T high) {
  const T q = rounded(clamp_between(steps, low - 1, high + 1));
  return q >= low && q <= high;
}

template <typename T>
void backward_loop(const T* __restrict x, const T* __restrict out_grad, int64_t n, T scale, T low, T high,
                   T* __restrict x_grad) {
  for (int64_t i = 0; i < n; ++i) x_grad[i] = is_inside(x[i] / scale, low, high) ? out_grad[i] : T{0};
}

// Sums in lanes, which the compiler can keep in registers.
template <typename T>
double learned_backward_loop(const T* __restrict x, const T* __restrict out_grad, int64_t n, T scale, T low, T high,
                             T* __restrict x_grad) {
  constexpr int kLanes = 16;
  T sums[kLanes] = {};
  const auto add = [&](int64_t i, int lane) {
    const T steps = x[i] / scale, g = out_grad[i];
    const bool inside = is_inside(steps, low, high);
    const T q = rounded(clamp_between(steps, low, high));
    x_grad[i] = inside ? g : T{0};
    sums[lane] += g * (inside ? q - steps : q);
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  for (; i < n; ++i) add(i, 0);
  double total = 0;
  for (const T sum : sums) total += double{sum};
  return total;
}

constexpr FakeQuantizeKernels kFakeQuantizeKernels{
    {forward_loop<float>, backward_loop<float>, learned_backward_loop<float>},
    {forward_loop<double>, backward_loop<double>, learned_backward_loop<double>}};

}  // namespace
}  // namespace thimble::kernels
