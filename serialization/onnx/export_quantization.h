// QuantizeLinear, DequantizeLinear and integer products. Internal.
//
// What makes ONNX Runtime compute in integers, and to the same ones: zero points are always written, those of weights
// are 0, weights have their axis, and a bias has exactly the scale float32(x's * weight's). Where integers are kept
// within bounds, because of a relu or fewer bits, that is a Clip of uint8 behind the QuantizeLinear: in front of it, it
// would stand between the product and its QuantizeLinear, and the product would stay float.
#pragma once

#include <string>
#include <vector>

#include <thimble/quant/layers/integer_weights.h>
#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {

/// Integers that are used, of uint8.
struct IntegerBounds {
  int32_t low = 0, high = 255;

  bool all() const { return low <= 0 && high >= 255; }
};

/// Those among the attributes of the layer that the node calls.
quant::TensorQParams qparams_in(const Exporter& exporter, const nn::Node& node, const std::string& prefix);

/// A step from uint8 to float32.
std::string dequantized(Exporter& exporter, const nn::Node& node, const std::string& q,
                        const quant::TensorQParams& qparams);

/// A step from float32 to uint8.
std::string quantized(Exporter& exporter, const nn::Node& node, const std::string& x,
                      const quant::TensorQParams& qparams, IntegerBounds bounds);

/// A step that changes nothing, a maximum with the smallest number: what stands in front of it is not made integer by
/// ONNX Runtime for a QuantizeLinear behind it.
std::string kept_float(Exporter& exporter, const nn::Node& node, const std::string& x);

/// The same as the node's value: integers of so many bits, of at least `low`.
void write_quantized(Exporter& exporter, const nn::Node& node, const std::string& x,
                     const quant::TensorQParams& qparams, int32_t low = 0);

/// The weights of an integer layer as kernels multiply with them, and what an integer of a sum is worth, with an input
/// of scale 1.
struct ExportedWeights {
  /// With reduce_range, integers of 7 bits, of twice the worth.
  ExportedWeights(const quant::IntegerWeights& weights, bool reduce_range);

  int64_t out() const { return values.shape(0); }
  /// Sums of 8-bit weights, a bias, in the unit of these.
  NDArray in_unit(const NDArray& sums) const;

  NDArray values;           ///< int8 [out, ...]
  std::vector<float> step;  ///< [groups][out]
  bool is_halved;
};

/// A step from an array of integers, int8 or int32, to float32, with scales along an axis and zero points of 0.
std::string dequantized_tensor(Exporter& exporter, const nn::Node& node, const std::string& part, const NDArray& values,
                               const std::vector<float>& scale, int64_t axis = 0);

}  // namespace thimble::onnx
