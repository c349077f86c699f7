// The integer linear layer.
#pragma once

#include <memory>
#include <optional>

#include <thimble/core/api.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// IntegerProduct of x uint8 [..., in] and W int8 [out, in].
class THIMBLE_API QuantizedLinear : public IntegerProduct {
 public:
  /// What the layer is made with.
  struct Config {
    int64_t in_features = 0, out_features = 0;
    TensorQParams input = {};
    std::optional<TensorQParams> output = std::nullopt;
    int weight_bits = 8;
    bool relu = false;
    int64_t weight_group_size = 0;
  };

  /// Tensors are to come by load_state(). Throws ValueError for sizes below 1, sums that are too long, or parameters
  /// that are not sound.
  explicit QuantizedLinear(const Config& config);

  /// Quantizes a float layer's weights and bias.
  static std::shared_ptr<QuantizedLinear> from_float(const nn::Linear& linear, const QuantizationSpec& weight_spec,
                                                     const TensorQParams& input,
                                                     const std::optional<TensorQParams>& output, bool relu);
  /// Quantizes these weights. Throws ValueError for values that are not finite or parameters that integer layers cannot
  /// have.
  static std::shared_ptr<QuantizedLinear> from_weights(const ProductWeights& weights, const TensorQParams& input,
                                                       const std::optional<TensorQParams>& output, bool relu);

  std::string type() const override { return "QuantizedLinear"; }
  Attributes attributes() const override;

  Tensor forward_all(std::span<const Tensor> inputs) override;
  const Config& config() const { return config_; }

 private:
  std::unique_ptr<ProductKernel> kernel(const nn::ValueInfo& x) const override;
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;

  Config config_;
};

}  // namespace thimble::quant
