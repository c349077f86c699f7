#include <cmath>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/shape.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/quant/blocks.h>
#include <thimble/quant/qat/qat_layers.h>

namespace thimble::quant {

namespace {

constexpr const char *kBatchNorm = "bn_", *kWeight = "weight_quantization_";

std::shared_ptr<nn::BatchNorm> batch_norm_from(const Attributes& a, const char* type) {
  const Attributes own = a.part(kBatchNorm);
  return own.empty() ? nullptr : std::dynamic_pointer_cast<nn::BatchNorm>(nn::make_layer(type, own));
}

// [out] as [out, 1, ...], to go with weights.
NDArray per_channel(const NDArray& values, const Tensor& weight) {
  std::vector<int64_t> dims(static_cast<size_t>(weight.ndim()), 1);
  dims[0] = values.numel();
  return values.reshape(Shape(dims));
}

}  // namespace

QATLayer::QATLayer(const QATLayerOptions& options, const Shape& weight_shape, std::shared_ptr<nn::BatchNorm> bn)
    : weight_fake_quant_(std::make_shared<FakeQuantize>(
          FakeQuantize::Options{.spec = options.weight,
                                .learned = options.learned,
                                .channels = Blocks(weight_shape, options.weight, "QAT").channels})),
      bn_(std::move(bn)),
      input_scale_(NDArray::zeros({})),
      options_(options) {
  check<ShapeError>(!bn_ || bn_->num_features() == weight_shape[0], "QAT: batch normalization of ",
                    bn_ ? bn_->num_features() : 0, " features behind weights ", weight_shape);
}

Attributes QATLayer::options_attributes() const {
  Attributes a{{"relu", options_.relu}, {"frozen_bn_stats", frozen_}};
  a.set_all(kWeight, weight_fake_quant_->attributes());
  if (bn_) a.set_all(kBatchNorm, bn_->attributes());
  return a;
}

QATLayerOptions QATLayer::options_from(const Attributes& a) {
  const Attributes own = a.part(kWeight);
  return {QuantizationSpec::from_attributes(own), own.get<bool>("learned"), a.get<bool>("relu")};
}

Tensor QATLayer::bn_factor(const Tensor& weight) const {
  const auto variance = bn_->running_var.data().to_vector<double>();
  std::vector<double> factor(variance.size(), 1);
  if (bn_->weight.defined()) factor = bn_->weight.data().to_vector<double>();
  for (size_t c = 0; c < factor.size(); ++c) {
    factor[c] /= std::sqrt(variance[c] + bn_->eps());
    constexpr double kLeast = 1e-6;  // a channel that is switched off still has weights to divide
    if (std::abs(factor[c]) < kLeast) factor[c] = std::copysign(kLeast, factor[c]);
  }
  return per_channel(NDArray::from_vector(factor).to(DType::float32), weight);
}

QATLayer::Folded QATLayer::folded(const Tensor& weight) const {
  if (!bn_) return {weight, Tensor()};
  const Tensor factor = bn_factor(weight);
  return {weight * factor, factor};
}

Tensor QATLayer::folded_bias(const Tensor& bias, const Folded& w) const {
  if (!bn_) return bias.defined() ? bias.detach() : bias;
  const Tensor mean = bn_->running_mean.detach();
  const Tensor y = (bias.defined() ? bias.detach() - mean : -mean) * reshape(w.factor, mean.shape());
  return bn_->bias.defined() ? y + bn_->bias.detach() : y;
}

void QATLayer::initialize(const Tensor& weight) { weight_fake_quant_->initialize(folded(weight).weight.data()); }

Tensor QATLayer::bias_rounding(const ProductWeights& w) const {
  const float input_scale = input_scale_.item<float>();
  const IntegerBias integers = integer_bias(w, input_scale);
  NDArray rounded(w.bias.shape());
  for (size_t c = 0; c < integers.value.size(); ++c)
    rounded.data<float>()[c] = static_cast<float>(integers.value[c] * double{input_scale} * double{integers.step[c]});
  return Tensor(rounded) - w.bias;
}

bool QATLayer::rounds_bias() const { return input_scale_.item<float>() > 0 && weight_fake_quant_->quantizing(); }

ProductWeights QATLayer::integer_form(const Tensor& weight, const Tensor& bias) const {
  const NoGrad guard;
  const Folded f = folded(weight.detach());
  ProductWeights w{f.weight, folded_bias(bias, f), weight_fake_quant_->qparams_for(f.weight.data())};
  if (weight_fake_quant_->quantizing()) w.weight = fake_quantize(f.weight, w.qparams);
  if (rounds_bias() && w.bias.defined()) w.bias = w.bias + bias_rounding(w);
  return w;
}

// To the gradients the rounding is a constant: they pass straight through it.
Tensor QATLayer::trained_bias(const Folded& f, const Tensor& quantized, const Tensor& bias) const {
  if (!rounds_bias() || (!bias.defined() && !bn_)) return bias;
  Tensor rounding;
  {
    const NoGrad guard;
    rounding =
        bias_rounding({quantized.detach(), folded_bias(bias, f), weight_fake_quant_->qparams_for(f.weight.data())});
    if (bn_) rounding = rounding / reshape(f.factor, rounding.shape());  // which the normalization multiplies by
  }
  return bias.defined() ? bias + rounding : rounding;
}

template <typename Product>
Tensor QATLayer::run(bool training, const Tensor& weight, const Tensor& bias, Product&& product) {
  const auto activated = [this](const Tensor& y) { return options_.relu ? relu(y) : y; };
  if (!training) {
    const ProductWeights w = integer_form(weight, bias);
    return activated(product(w.weight, w.bias));
  }
  const Folded f = folded(weight);
  const Tensor quantized = (*weight_fake_quant_)(f.weight);
  const Tensor b = trained_bias(f, quantized, bias);
  if (!bn_) return activated(product(quantized, b));
  const Tensor y = product(quantized / f.factor, b);
  bn_->set_own_mode(!frozen_);
  return options_.relu ? bn_->forward_relu(y) : (*bn_)(y);
}

QATLinear::QATLinear(const nn::Linear& linear, std::shared_ptr<nn::BatchNorm> bn, const QATLayerOptions& options)
    : Linear(linear.weight, linear.bias), QATLayer(options, linear.weight.shape(), std::move(bn)) {
  register_module("weight_fake_quant", weight_fake_quant_);
  register_buffer("input_scale", input_scale_);
  if (bn_) register_module("bn", bn_);
}

Tensor QATLinear::forward(const Tensor& x) {
  return run(training(), weight, bias, [&](const Tensor& w, const Tensor& b) { return linear(x, w, b); });
}

Attributes QATLinear::attributes() const {
  Attributes a = Linear::attributes();
  a.set_all("", options_attributes());
  return a;
}

QATConv2d::QATConv2d(const nn::Conv2d& conv, std::shared_ptr<nn::BatchNorm> bn, const QATLayerOptions& options)
    : Conv2d(conv.weight, conv.bias, conv.options()), QATLayer(options, conv.weight.shape(), std::move(bn)) {
  register_module("weight_fake_quant", weight_fake_quant_);
  register_buffer("input_scale", input_scale_);
  if (bn_) register_module("bn", bn_);
}

Tensor QATConv2d::forward(const Tensor& x) {
  return run(training(), weight, bias,
             [&](const Tensor& w, const Tensor& b) { return conv2d(x, w, b, Conv2d::options()); });
}

Attributes QATConv2d::attributes() const {
  Attributes a = Conv2d::attributes();
  a.set_all("", options_attributes());
  return a;
}

namespace {

template <typename Made>
std::shared_ptr<Made> with_modes(std::shared_ptr<Made> layer, const Attributes& a) {
  layer->freeze_bn_stats(a.get<bool>("frozen_bn_stats"));
  const Attributes own = a.part(kWeight);
  layer->weight_fake_quant().set_observing(own.get<bool>("observing"));
  layer->weight_fake_quant().set_quantizing(own.get<bool>("quantizing"));
  return layer;
}

const nn::LayerRegistration qat_layers_registrations[] = {
    {"QATLinear",
     [](const Attributes& a) {
       return with_modes(std::make_shared<QATLinear>(*nn::make_linear<nn::Linear>(a), batch_norm_from(a, "BatchNorm1d"),
                                                     QATLayer::options_from(a)),
                         a);
     }},
    {"QATConv2d",
     [](const Attributes& a) {
       return with_modes(std::make_shared<QATConv2d>(*nn::make_conv2d<nn::Conv2d>(a), batch_norm_from(a, "BatchNorm2d"),
                                                     QATLayer::options_from(a)),
                         a);
     }},
};

}  // namespace

}  // namespace thimble::quant
