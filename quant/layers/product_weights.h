// The weights of a layer on their way from floats to integers.
#pragma once

#include <string>
#include <vector>

#include <thimble/core/tensor.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// How a layer's weights are quantized. prepare() leaves it on the layer's node.
struct WeightQuantization {
  QuantizationSpec spec = QuantizationSpec::per_channel_weight();
  std::string observer = "minmax";  ///< or "mse"
  /// What a pass has decided; empty: the observer chooses.
  std::vector<float> scale = {};

  /// Throws ValueError for weights that are not finite, an unknown observer, or scales that do not fit.
  QParams qparams(const NDArray& weight) const;

  Attributes to_attributes() const;
  /// Throws FormatError.
  static WeightQuantization from_attributes(const Attributes& attributes);
};

/// Float weights and bias (which may be undefined), and the parameters to quantize the weights with.
struct ProductWeights {
  Tensor weight, bias;
  QParams qparams;
};

}  // namespace thimble::quant
