// LayerNorm (Ba et al. 2016): each sample brought to mean 0 and variance 1 over its last dimensions.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// (x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions, which must equal normalized_shape; the
/// variance is the biased one.
class THIMBLE_API LayerNorm : public Module {
 public:
  /// What may follow the shape.
  struct Options {
    double eps = 1e-5;
    bool elementwise_affine = true;
  };

  explicit LayerNorm(const Shape& normalized_shape, Options options);
  explicit LayerNorm(const Shape& normalized_shape) : LayerNorm(normalized_shape, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  LayerNorm(const Shape& normalized_shape, ...) = delete;
  /// With these tensors; both undefined for no affine part.
  LayerNorm(const Shape& normalized_shape, double eps, Tensor weight, Tensor bias);
  Tensor forward(const Tensor& x) override;
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "LayerNorm"; }
  Attributes attributes() const override;

  const Tensor weight, bias;

 private:
  Shape normalized_shape_;
  double eps_;
};

}  // namespace thimble::nn
