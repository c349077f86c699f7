// Integer products of which the sums are taken: MatMulInteger and ConvInteger, for what QuantizeLinear and
// DequantizeLinear around a product cannot say. That is weights with a scale for each group of inputs, convolutions
// that give floats, and inputs whose range is found when they come. Internal.
#pragma once

#include <optional>
#include <string>

#include <thimble/core/ops/conv.h>
#include <thimble/serialization/onnx/export_quantization.h>

namespace thimble::onnx {

/// A layer's weights, and the sums of their products with integers.
class IntegerSums {
 public:
  /// `conv` are a convolution's options; none: a linear layer.
  IntegerSums(Exporter& exporter, const nn::Node& node, const quant::IntegerWeights& weights,
              const std::optional<Conv2dOptions>& conv);

  int64_t groups() const { return layout_.groups(); }
  const ExportedWeights& weights() const { return weights_; }
  bool is_conv() const { return conv_.has_value(); }

  /// int32, of q, uint8, less its zero point, a number; of group g of a linear layer's inputs.
  std::string of(const std::string& q, const std::string& zero_point, int64_t g);
  /// Sums as floats times a factor.
  std::string scaled(const std::string& sums, const std::string& factor);
  /// [out] as an array that goes with sums.
  std::string per_channel(const std::string& part, const NDArray& values);
  /// Of [groups][out], those of group g.
  std::string per_channel(const std::string& part, const std::vector<float>& values, int64_t g);
  /// What each channel's weights of group g add up to, int32 [out].
  NDArray sums_of_weights(int64_t g) const;
  /// The node's value: a float, perhaps with a relu.
  void write_float(const std::string& value, bool relu);

 private:
  /// The weights of group g, int8 [out, ...].
  NDArray group(int64_t g) const;

  Exporter& e_;
  const nn::Node& node_;
  const quant::IntegerWeights& layout_;
  std::optional<Conv2dOptions> conv_;
  ExportedWeights weights_;
};

}  // namespace thimble::onnx
