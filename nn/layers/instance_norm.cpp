#include <cmath>

#include <thimble/core/ops/norm.h>
#include <thimble/nn/layers/instance_norm.h>

namespace thimble::nn {

namespace {

Tensor instance_filled(const char* name, int64_t num_features, bool wanted, double value) {
  check<ValueError>(num_features > 0, name, ": num_features ", num_features, " must be at least 1");
  return wanted ? Tensor(NDArray::full({num_features}, value)) : Tensor();
}

}  // namespace

InstanceNorm::InstanceNorm(const char* name, int dims, int64_t num_features, Options o)
    : weight(register_parameter("weight", instance_filled(name, num_features, o.affine, 1))),
      bias(register_parameter("bias", instance_filled(name, num_features, o.affine, 0))),
      name_(name),
      dims_(dims),
      num_features_(num_features),
      eps_(o.eps) {
  check<ValueError>(eps_ > 0 && std::isfinite(eps_), name, ": eps ", eps_, " must be above 0");
}

Tensor InstanceNorm::forward(const Tensor& x) {
  check<ShapeError>(x.ndim() == dims_ && x.shape(1) == num_features_, name_, ": expects ", dims_, " dimensions and ",
                    num_features_, " channels, got input ", x.shape());
  check<ValueError>(!training() || x.shape(0) == 0 || x.numel() != x.shape(0) * num_features_, name_,
                    ": expected more than 1 value per channel when training, got input ", x.shape());
  return instance_norm(x, weight, bias, eps_);
}

}  // namespace thimble::nn
