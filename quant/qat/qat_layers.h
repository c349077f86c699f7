// Linear and Conv2d as they are trained for quantization: with fake-quantized weights, and with the batch normalization
// and the ReLU that the integer layer will contain.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/product_weights.h>
#include <thimble/quant/qat/fake_quantize.h>

namespace thimble::quant {

/// What a layer of quantization-aware training is made with, besides the float layer.
struct THIMBLE_API QATLayerOptions {
  QuantizationSpec weight = QuantizationSpec::per_channel_weight();
  /// Of the weights' scales.
  bool learned = false;
  bool relu = false;
};

/// What such layers have in common. `Layer` (below) is nn::Linear or nn::Conv2d, whose weight and bias are trained.
///
/// Batch normalization is folded into the weights that are quantized (Krishnamoorthi, "Quantizing deep convolutional
/// networks", 2018, section 3.2.2): with f = gamma / sqrt(running_var + eps), y = bn(conv(x, fake_quantize(w * f) /
/// f)), which is what conv(x, fake_quantize(w * f)) is with the running statistics. In evaluation, and in the integer
/// layer, it is that. f is a constant to the gradients.
class THIMBLE_API QATLayer {
 public:
  virtual ~QATLayer() = default;
  /// Throws FormatError.
  static QATLayerOptions options_from(const Attributes& attributes);

  /// The weights as they are quantized, normalization folded in, and their parameters.
  virtual ProductWeights product_weights() const = 0;
  bool has_relu() const { return options_.relu; }
  FakeQuantize& weight_fake_quant() { return *weight_fake_quant_; }
  /// Chooses the parameters for these weights, normalization folded in.
  void initialize(const Tensor& weight);
  /// The scale of the layer's input, which stays as it is: from now on its bias is rounded as the integer layer's will
  /// be. 0: it does not stay, and the bias is not rounded.
  void set_input_scale(float scale) { input_scale_.set_data(NDArray::full({}, scale)); }
  /// From now on, or no longer, the running statistics normalize in training, too, and stay as they are.
  void freeze_bn_stats(bool frozen) { frozen_ = frozen; }

 protected:
  QATLayer(const QATLayerOptions& options, const Shape& weight_shape, std::shared_ptr<nn::BatchNorm> bn);

  Attributes options_attributes() const;
  /// Weights and bias as the integer layer has them.
  ProductWeights integer_form(const Tensor& weight, const Tensor& bias) const;
  /// The layer's output; product(w, b) applies its op with these weights.
  template <typename Product>
  Tensor run(bool training, const Tensor& weight, const Tensor& bias, Product&& product);

  std::shared_ptr<FakeQuantize> weight_fake_quant_;
  std::shared_ptr<nn::BatchNorm> bn_;  // may be null
  Tensor input_scale_;                 // 0-d; see set_input_scale()

 private:
  // Weights with normalization folded in, and its factors; without normalization these are undefined.
  struct Folded {
    Tensor weight, factor;
  };
  Folded folded(const Tensor& weight) const;
  // A constant; undefined if there is neither a bias nor normalization.
  Tensor folded_bias(const Tensor& bias, const Folded& w) const;
  bool rounds_bias() const;
  // What rounding adds to the folded bias, [out].
  Tensor bias_rounding(const ProductWeights& folded) const;
  // `quantized`: the folded weights, fake-quantized.
  Tensor trained_bias(const Folded& f, const Tensor& quantized, const Tensor& bias) const;
  // For each output channel, as [out, 1, ...]; not 0.
  Tensor bn_factor(const Tensor& weight) const;

  QATLayerOptions options_;
  bool frozen_ = false;
};

/// nn::Linear, with an nn::BatchNorm1d behind it or without.
class THIMBLE_API QATLinear : public nn::Linear, public QATLayer {
 public:
  /// Takes the tensors of the layers; `bn` may be null.
  QATLinear(const nn::Linear& linear, std::shared_ptr<nn::BatchNorm> bn, const QATLayerOptions& options);

  Tensor forward(const Tensor& x) override;
  /// None: weights are quantized anew at each call.
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo>) const override { return nullptr; }
  std::string type() const override { return "QATLinear"; }
  Attributes attributes() const override;
  ProductWeights product_weights() const override { return integer_form(weight, bias); }
};

/// nn::Conv2d, with an nn::BatchNorm2d behind it or without.
class THIMBLE_API QATConv2d : public nn::Conv2d, public QATLayer {
 public:
  QATConv2d(const nn::Conv2d& conv, std::shared_ptr<nn::BatchNorm> bn, const QATLayerOptions& options);

  Tensor forward(const Tensor& x) override;
  /// None: weights are quantized anew at each call.
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo>) const override { return nullptr; }
  std::string type() const override { return "QATConv2d"; }
  Attributes attributes() const override;
  ProductWeights product_weights() const override { return integer_form(weight, bias); }
};

}  // namespace thimble::quant
