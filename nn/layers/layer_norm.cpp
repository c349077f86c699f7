#include <thimble/core/ops/norm.h>
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
}

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

Attributes LayerNorm::attributes() const {
  return {{"normalized_shape", normalized_shape_.to_vector()}, {"eps", eps_}, {"elementwise_affine", weight.defined()}};
}

}  // namespace thimble::nn
