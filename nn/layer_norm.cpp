#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/nn/layer_norm.h>

namespace thimble::nn {

namespace {
const LayerRegistration registration{"LayerNorm", [](const Attributes& a) {
                                       return std::make_shared<LayerNorm>(
                                           Shape(a.get<std::vector<int64_t>>("normalized_shape")),
                                           LayerNorm::Options{a.get<double>("eps"), a.get<bool>("elementwise_affine")});
                                     }};
}

LayerNorm::LayerNorm(const Shape& normalized_shape, Options options)
    : normalized_shape_(normalized_shape), options_(options) {
  check<ValueError>(!normalized_shape.empty(), "LayerNorm: normalized_shape is empty");
  if (!options.elementwise_affine) return;
  weight = register_parameter("weight", NDArray::ones(normalized_shape));
  bias = register_parameter("bias", NDArray::zeros(normalized_shape));
}

Tensor LayerNorm::forward(const Tensor& x) {
  const int dims = normalized_shape_.ndim(), first = x.ndim() - dims;
  bool fits = first >= 0;
  Shape axes;
  for (int i = 0; i < dims && fits; ++i) {
    fits = x.shape(first + i) == normalized_shape_[i];
    axes.push_back(first + i);
  }
  check<ShapeError>(fits, "layer_norm: input ", x.shape(), " does not end in ", normalized_shape_);
  const Tensor centred = x - mean(x, axes, true);
  const Tensor normalized = centred / sqrt(mean(centred * centred, axes, true) + options_.eps);
  return options_.elementwise_affine ? normalized * weight + bias : normalized;
}

Attributes LayerNorm::attributes() const {
  return {{"normalized_shape", normalized_shape_.to_vector()},
          {"eps", options_.eps},
          {"elementwise_affine", options_.elementwise_affine}};
}

}  // namespace thimble::nn
