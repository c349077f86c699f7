// Layers of integer weights, from float layers whose weights were dequantized. Internal.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <thimble/nn/module.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::onnx {

/// What DequantizeLinear made a known array of.
struct DequantizedConstant {
  NDArray values, scale, zero_point;  ///< the latter may be undefined
  int64_t axis = 1, block_size = 0;
  int bits = 8;  ///< of the values' type
};

/// What a layer's weight and bias were dequantized from; null for one that was not.
struct QuantizedOperands {
  std::shared_ptr<const DequantizedConstant> weight, bias;
};

/// An integer layer in place of a float one, or why there is none.
struct IntegerProductLayer {
  std::shared_ptr<nn::Module> layer;
  /// The layer takes its input twice, side by side along this axis: its weights are sums of two integers of 8 bits.
  std::optional<int64_t> doubled_axis;
  std::string reason;
};

/// Of a Conv2d or Linear, for an input of these parameters, and output ones; without them it gives float32. Weights are
/// taken as integers only where these, times the scale, are the layer's weights bit for bit: whatever has been done to
/// them since they were dequantized, or to the order of their dimensions, cannot go wrong. A bias is rounded to the
/// grid of the sums, from its own scale.
IntegerProductLayer integer_product(const nn::Module& layer, const QuantizedOperands& operands,
                                    const quant::TensorQParams& input,
                                    const std::optional<quant::TensorQParams>& output);

/// A WeightOnlyLinear in place of a Linear.
IntegerProductLayer weight_only_product(const nn::Module& layer, const QuantizedOperands& operands);

}  // namespace thimble::onnx
