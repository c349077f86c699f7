// Fake quantization as a differentiable op: quantization-aware training sees in it what integers will do.
//
//   quant::QParams p = quant::choose_qparams(weight.data(), quant::QuantizationSpec::per_channel_weight(4));
//   Tensor y = conv2d(x, quant::fake_quantize(weight, p));  // weight gets its gradient straight through the rounding
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// The values that x (float32 or float64) takes in quantized form, as floats: dequantize(quantize(x)). Its gradient is
/// the straight-through estimator's (Bengio et al. 2013): 1 where x is within the range of the integers, 0 outside, as
/// in torch.fake_quantize. It cannot be differentiated again: with BackwardOptions::create_graph it throws ValueError.
/// Throws as quantize() does for parameters that do not fit. NaN becomes the smallest value.
THIMBLE_API Tensor fake_quantize(const Tensor& x, const QParams& qparams);

/// The same with scales that are learned (LSQ: Esser et al., "Learned step size quantization", 2020). `scale` is of x's
/// dtype and [1], or [size along spec.axis]; zero_point has as many elements, which are constants. The gradient with
/// respect to a scale is the sum over its elements of round(x / scale) - x / scale within the range, and of the integer
/// that x is clamped to (counted from the zero point) outside, times grad_factor; see lsq_grad_factor(). Throws
/// ValueError for scales that are not positive and finite.
THIMBLE_API Tensor fake_quantize(const Tensor& x, const Tensor& scale, const std::vector<int32_t>& zero_point,
                                 const QuantizationSpec& spec, double grad_factor = 1);

/// Q_P of Esser et al. 2020: the integers above the zero point, at least 1.
THIMBLE_API int32_t lsq_positive_steps(const QuantizationSpec& spec, int32_t zero_point);

/// 1 / sqrt(elements * positive_steps), which brings a scale's gradient to the size of the gradients of the `elements`
/// values that share it: a layer's weights, or the features of one sample.
THIMBLE_API double lsq_grad_factor(int64_t elements, int32_t positive_steps);

/// 2 mean|x| / sqrt(positive_steps): where LSQ starts, one scale for each index along spec.axis or one in all. Throws
/// ValueError for values that are not finite or an empty x.
THIMBLE_API std::vector<float> lsq_initial_scale(const NDArray& x, const QuantizationSpec& spec,
                                                 int32_t positive_steps);

}  // namespace thimble::quant
