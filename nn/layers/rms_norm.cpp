#include <cmath>

#include <thimble/core/ops/norm.h>
#include <thimble/nn/layers/rms_norm.h>

namespace thimble::nn {

RMSNorm::RMSNorm(const Shape& normalized_shape, Options options)
    : weight(register_parameter("weight",
                                options.elementwise_affine ? Tensor(NDArray::ones(normalized_shape)) : Tensor())),
      normalized_shape_(normalized_shape),
      eps_(options.eps) {
  check<ValueError>(!normalized_shape.empty(), "RMSNorm: normalized_shape is empty");
  check<ValueError>(eps_ > 0 && std::isfinite(eps_), "RMSNorm: eps ", eps_, " must be above 0");
}

Tensor RMSNorm::forward(const Tensor& x) { return rms_norm(x, normalized_shape_, weight, eps_); }

}  // namespace thimble::nn
