// Dynamic quantization: integer weights, and activations that each call quantizes by its own values.
//
//   nn::Graph dynamic = quant::quantize_dynamic(graph);        // needs no data
#pragma once

#include <memory>
#include <optional>

#include <thimble/core/api.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

struct DynamicConstants;

/// y = x W^T + b, optionally with a ReLU, float32 in and out. x is quantized at each call, unsigned and affine, by the
/// range of each row or sample of its own, or of all; the products are integers, as IntegerProduct's, and the bias is
/// added in float32; with DynamicRange::call it is rounded to a multiple of the sums' unit unless a channel's weights
/// are 0 or its bias would leave int32. A NaN or infinity makes NaN of all that shares its range. With
/// DynamicRange::call, as in torch.ao.nn.quantized.dynamic, what a sample gives depends on the others of its batch.
/// Bit-identical on every instruction set and thread count and, with DynamicRange::row, batch split. The state holds
/// `weight` and `weight_scale` as IntegerWeights describes them, and `bias`, float32 [out], if there is one.
class THIMBLE_API DynamicProduct : public IntegerLayer {
 public:
  /// What the layer is made with, besides the weights' shape.
  struct Options {
    IntegerWeights::Format weight = {};
    int activation_bits = 8;
    bool relu = false;
    bool bias = true;
    DynamicRange range = DynamicRange::row;
  };

  const Options& options() const { return options_; }
  const IntegerWeights& weights() const { return weights_; }
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  bool is_per_sample() const override { return options_.range == DynamicRange::row; }
  /// Files that do not say what ranges are of were written when they were of calls. Throws FormatError.
  static Options options_from(const Attributes& attributes);

 protected:
  /// weight_shape is [out, ...]; tensors are to come by load_state(). Throws ValueError as IntegerWeights, or for bits
  /// beyond 2 to 8.
  DynamicProduct(const char* type, const Shape& weight_shape, const Options& options);

  /// Throws ValueError for values that are not finite or parameters that integer weights cannot have.
  void load_float(const ProductWeights& weights);
  virtual std::unique_ptr<ProductKernel> kernel(const nn::ValueInfo& x) const = 0;
  void check_one_float(std::span<const nn::ValueInfo> inputs) const;
  void state_changed() override;
  Attributes options_attributes() const;

 private:
  // Made of the state when a program is: kept ones could differ from it where memory ends.
  DynamicConstants constants() const;

  const char* type_;
  Options options_;
  IntegerWeights weights_;
  Tensor bias_;  // float32 [out], or undefined
  bool loaded_ = false;
};

/// DynamicProduct of x [..., in] and weights [out, in].
class THIMBLE_API DynamicQuantizedLinear : public DynamicProduct {
 public:
  DynamicQuantizedLinear(int64_t in_features, int64_t out_features, const Options& options);
  static std::shared_ptr<DynamicQuantizedLinear> from_weights(const ProductWeights& weights, int activation_bits,
                                                              bool relu, DynamicRange range = DynamicRange::row);
  std::string type() const override { return "DynamicQuantizedLinear"; }
  Attributes attributes() const override;
  Tensor forward_all(std::span<const Tensor> inputs) override { return forward_rows(inputs); }

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  std::unique_ptr<ProductKernel> kernel(const nn::ValueInfo& x) const override;
};

/// DynamicProduct of what each output pixel sees of x [n, in, h, w] and weights [out, in / groups, kernel height,
/// kernel width].
class THIMBLE_API DynamicQuantizedConv2d : public DynamicProduct {
 public:
  DynamicQuantizedConv2d(const Shape& weight_shape, const Conv2dOptions& conv_options, const Options& options);
  static std::shared_ptr<DynamicQuantizedConv2d> from_weights(const ProductWeights& weights,
                                                              const Conv2dOptions& conv_options, int activation_bits,
                                                              bool relu, DynamicRange range = DynamicRange::row);
  std::string type() const override { return "DynamicQuantizedConv2d"; }
  Attributes attributes() const override;

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  std::unique_ptr<ProductKernel> kernel(const nn::ValueInfo& x) const override;

  Conv2dOptions conv_options_;
};

}  // namespace thimble::quant
