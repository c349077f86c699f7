// The weights of a layer on their way from floats to integers.
#pragma once

#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// How a layer's weights are quantized. prepare() leaves it on the layer's node.
struct THIMBLE_API WeightQuantization {
  QuantizationSpec spec = QuantizationSpec::per_channel_weight();
  std::string observer = "minmax";  ///< or "mse"
  /// What a pass has decided; empty: the observer chooses.
  std::vector<float> scale = {};

  /// Throws ValueError for weights that are not finite, an unknown observer, or scales that do not fit.
  QParams qparams(const NDArray& weight) const;
  /// Throws what qparams() would, without looking for the best range.
  void check(const NDArray& weight) const;

  Attributes to_attributes() const;
  /// Throws FormatError.
  static WeightQuantization from_attributes(const Attributes& attributes);

 private:
  void check_observer() const;
};

/// Float weights and bias (which may be undefined), and the parameters to quantize the weights with.
struct THIMBLE_API ProductWeights {
  Tensor weight, bias;
  QParams qparams;
};

/// A bias as integers, for an input of this scale: of output channel c, value[c] * input_scale * step[c], where the
/// weights (of its first group) have scale step[c] * 2^(8 - bits).
struct THIMBLE_API IntegerBias {
  std::vector<int32_t> value;
  std::vector<float> step;
};
/// The steps follow from the weights' scales, but where the bias would leave int32 they are coarser. Throws ValueError
/// for values that are not finite.
THIMBLE_API IntegerBias integer_bias(const ProductWeights& weights, float input_scale);

/// How large a bias may be, so that it and any sum of k products of 8 bits fit int32.
THIMBLE_API int64_t integer_bias_limit(int64_t k);

}  // namespace thimble::quant
