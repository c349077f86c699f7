// The inference step of dynamic quantization. Internal to quant.
#pragma once

#include <memory>
#include <vector>

#include <thimble/nn/inference/inference.h>
#include <thimble/quant/layers/product_kernel.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// Of a product with weights of integers.
struct DynamicConstants {
  std::vector<float> steps = {};  ///< of sums, with an input of scale 1: [groups][out]
  std::vector<float> bias = {};   ///< [out], or empty
  /// For DynamicRange::call: the finest scale of inputs at which each bias is an integer of its channel's sums (of the
  /// first group) without leaving int32; infinity if there is none.
  double finest_integer_bias = 0;
};

/// y = W x + b of quantized x, float32 in and out, as DynamicProduct describes it; `kernel` is ready for x.
std::unique_ptr<nn::InferenceStep> dynamic_step(const nn::ValueInfo& x, std::unique_ptr<ProductKernel> kernel,
                                                DynamicRange range, int activation_bits, bool relu,
                                                DynamicConstants constants);

}  // namespace thimble::quant
