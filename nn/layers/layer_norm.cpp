#include <thimble/core/kernels/reduce/normalize.h>
#include <thimble/core/ops/norm.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/layers/layer_norm.h>

namespace thimble::nn {

namespace {

const LayerRegistration layer_norm_registration{
    "LayerNorm", [](const Attributes& a) {
      const Shape shape(a.get<std::vector<int64_t>>("normalized_shape"));
      const Tensor tensor = a.get<bool>("elementwise_affine") ? Tensor(NDArray::placeholder(shape)) : Tensor();
      const Tensor other = tensor.defined() ? Tensor(NDArray::placeholder(shape)) : Tensor();
      return std::make_shared<LayerNorm>(shape, a.get<double>("eps"), tensor, other);
    }};

// With the affine part in the same pass.
class LayerNormStep : public InferenceStep {
 public:
  LayerNormStep(const ValueInfo& x, int64_t n, double eps, const Tensor& weight, const Tensor& bias)
      : InferenceStep(x), rows_(x.shape.numel() / n), n_(n), eps_(eps) {
    if (!weight.defined()) return;
    weight_ = weight.data().contiguous();
    bias_ = bias.data().contiguous();
    affine_ = {std::as_const(weight_).data<float>(), std::as_const(bias_).data<float>()};
  }

  int64_t weight_bytes() const override { return affine_.weight ? weight_.nbytes() + bias_.nbytes() : 0; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    kernels::normalize_rows<float>(static_cast<const float*>(inputs[0]), rows_, n_, eps_, static_cast<float*>(output),
                                   nullptr, affine_);
  }

 private:
  int64_t rows_, n_;
  double eps_;
  NDArray weight_, bias_;
  kernels::Affine<float> affine_;
};

}  // namespace

LayerNorm::LayerNorm(const Shape& normalized_shape, Options options)
    : LayerNorm(normalized_shape, options.eps,
                options.elementwise_affine ? Tensor(NDArray::ones(normalized_shape)) : Tensor(),
                options.elementwise_affine ? Tensor(NDArray::zeros(normalized_shape)) : Tensor()) {}

LayerNorm::LayerNorm(const Shape& normalized_shape, double eps, Tensor w, Tensor b)
    : weight(register_parameter("weight", std::move(w))),
      bias(register_parameter("bias", std::move(b))),
      normalized_shape_(normalized_shape),
      eps_(eps) {
  check<ValueError>(!normalized_shape.empty(), "LayerNorm: normalized_shape is empty");
  check<ShapeError>(weight.defined() == bias.defined(), "LayerNorm: has one of weight and bias only");
  if (!weight.defined()) return;
  check<ShapeError>(weight.shape() == normalized_shape && bias.shape() == normalized_shape,
                    "LayerNorm: weight and bias must be ", normalized_shape, ", got ", weight.shape(), " and ",
                    bias.shape());
}

Tensor LayerNorm::forward(const Tensor& x) { return layer_norm(x, normalized_shape_, weight, bias, eps_); }

std::unique_ptr<InferenceStep> LayerNorm::inference_step(std::span<const ValueInfo> inputs) const {
  const ValueInfo& x = inputs[0];
  const int first = x.shape.ndim() - normalized_shape_.ndim();
  // Rows lie dense in everything but images, and there must be samples.
  bool fits = first >= 1 && !x.is_image() && x.flattened_image.empty() && x.dtype == DType::float32 &&
              x.shape.numel() > 0 && (!weight.defined() || weight.dtype() == DType::float32);
  for (int i = 0; i < normalized_shape_.ndim() && fits; ++i) fits = x.shape[first + i] == normalized_shape_[i];
  if (!fits) return nullptr;
  return std::make_unique<LayerNormStep>(x, normalized_shape_.numel(), eps_, weight, bias);
}

Attributes LayerNorm::attributes() const {
  return {{"normalized_shape", normalized_shape_.to_vector()}, {"eps", eps_}, {"elementwise_affine", weight.defined()}};
}

}  // namespace thimble::nn
