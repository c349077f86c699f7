// Quantization parameters with the smallest mean squared error.
#pragma once

#include <thimble/core/api.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// Parameters for the values of x (float32), per tensor or per channel: each range [min, max], widened to hold 0, is
/// multiplied by the factor of at most 1, a multiple of 1/1000, that makes the sum of (x - dequantize(quantize(x)))^2
/// smallest, and by 1 if none makes it smaller. For weights: it looks at all values for each of some 120 factors.
/// Throws what choose_qparams(x, spec) throws.
THIMBLE_API QParams choose_qparams_mse(const NDArray& x, const QuantizationSpec& spec = {});

}  // namespace thimble::quant
