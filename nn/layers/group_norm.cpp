#include <cmath>

#include <thimble/core/ops/norm.h>
#include <thimble/nn/layers/group_norm.h>

namespace thimble::nn {

namespace {

const LayerRegistration group_norm_registration{
    "GroupNorm", [](const Attributes& a) {
      const auto groups = a.get<int64_t>("num_groups"), channels = a.get<int64_t>("num_channels");
      check<FormatError>(channels > 0, "GroupNorm: num_channels ", channels, " must be at least 1");
      auto tensor = [&] { return a.get<bool>("affine") ? Tensor(NDArray::placeholder({channels})) : Tensor(); };
      return std::make_shared<GroupNorm>(groups, channels, a.get<double>("eps"), tensor(), tensor());
    }};

Tensor filled(int64_t num_channels, bool wanted, double value) {
  check<ValueError>(num_channels > 0, "GroupNorm: num_channels ", num_channels, " must be at least 1");
  return wanted ? Tensor(NDArray::full({num_channels}, value)) : Tensor();
}

}  // namespace

GroupNorm::GroupNorm(int64_t num_groups, int64_t num_channels, Options o)
    : GroupNorm(num_groups, num_channels, o.eps, filled(num_channels, o.affine, 1), filled(num_channels, o.affine, 0)) {
}

GroupNorm::GroupNorm(int64_t num_groups, int64_t num_channels, double eps, Tensor w, Tensor b)
    : weight(register_parameter("weight", std::move(w))),
      bias(register_parameter("bias", std::move(b))),
      num_groups_(num_groups),
      num_channels_(num_channels),
      eps_(eps) {
  check<ValueError>(num_groups > 0 && num_channels > 0, "GroupNorm: num_groups ", num_groups, " and num_channels ",
                    num_channels, " must be at least 1");
  check<ShapeError>(num_channels % num_groups == 0, "GroupNorm: num_groups ", num_groups,
                    " do not divide num_channels ", num_channels);
  check<ValueError>(eps > 0 && std::isfinite(eps), "GroupNorm: eps ", eps, " must be above 0");
  check<ShapeError>(weight.defined() == bias.defined(), "GroupNorm: has one of weight and bias only");
  if (!weight.defined()) return;
  check<ShapeError>(weight.shape() == Shape{num_channels} && bias.shape() == weight.shape(),
                    "GroupNorm: weight and bias must be [", num_channels, "], got ", weight.shape(), " and ",
                    bias.shape());
}

Tensor GroupNorm::forward(const Tensor& x) {
  check<ShapeError>(x.ndim() >= 2 && x.shape(1) == num_channels_, "GroupNorm: expects ", num_channels_,
                    " channels, got input ", x.shape());
  return group_norm(x, num_groups_, weight, bias, eps_);
}

Attributes GroupNorm::attributes() const {
  return {{"num_groups", num_groups_}, {"num_channels", num_channels_}, {"eps", eps_}, {"affine", weight.defined()}};
}

}  // namespace thimble::nn
