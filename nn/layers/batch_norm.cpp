#include <cmath>

#include <thimble/core/ops/norm.h>
#include <thimble/nn/inference/batch_norm_step.h>
#include <thimble/nn/layers/batch_norm.h>

namespace thimble::nn {

namespace {

constexpr const char* kCumulative = "cumulative_average";

template <typename T>
std::shared_ptr<Module> make(const Attributes& a) {
  const auto features = a.get<int64_t>("num_features");
  check<FormatError>(features > 0, "batch norm: num_features ", features, " must be at least 1");
  auto tensor = [&] { return Tensor(NDArray::placeholder({features})); };
  const bool affine = a.get<bool>("affine");
  std::optional<double> momentum;
  if (!a.get<bool>(kCumulative, false)) momentum = a.get<double>("momentum");
  return std::make_shared<T>(affine ? tensor() : Tensor(), affine ? tensor() : Tensor(), tensor(), tensor(),
                             a.get<double>("eps"), momentum);
}

Tensor filled(const char* type, int64_t num_features, bool wanted, double value) {
  check<ValueError>(num_features > 0, type, ": num_features ", num_features, " must be at least 1");
  return wanted ? Tensor(NDArray::full({num_features}, value)) : Tensor();
}

const LayerRegistration batch_norm_registrations[] = {
    {"BatchNorm2d", make<BatchNorm2d>},
    {"BatchNorm1d", make<BatchNorm1d>},
    {"BatchNorm3d", make<BatchNorm3d>},
};

}  // namespace

BatchNorm::BatchNorm(const char* type, int64_t num_features, Options o)
    : BatchNorm(type, filled(type, num_features, o.affine, 1), filled(type, num_features, o.affine, 0),
                filled(type, num_features, o.track_running_stats, 0),
                filled(type, num_features, o.track_running_stats, 1), o.eps, o.momentum) {
  num_features_ = num_features;
}

BatchNorm::BatchNorm(const char* type, Tensor w, Tensor b, Tensor mean, Tensor var, double eps,
                     std::optional<double> momentum)
    : weight(register_parameter("weight", std::move(w))),
      bias(register_parameter("bias", std::move(b))),
      running_mean(register_buffer("running_mean", std::move(mean))),
      running_var(register_buffer("running_var", std::move(var))),
      num_batches_tracked(register_buffer(
          "num_batches_tracked", running_mean.defined() ? Tensor(NDArray::zeros({}, DType::int64)) : Tensor())),
      type_(type),
      num_features_(running_mean.defined() ? running_mean.numel()
                    : weight.defined()     ? weight.numel()
                                           : 0),
      eps_(eps),
      momentum_(momentum) {
  check<ValueError>(eps > 0 && std::isfinite(eps), type, ": eps ", eps, " must be above 0");
  check<ValueError>(!momentum || (*momentum >= 0 && *momentum <= 1), type, ": momentum ", momentum.value_or(0),
                    " is not in [0, 1]");
  check<ShapeError>(weight.defined() == bias.defined(), type, ": has one of weight and bias only");
  check<ShapeError>(running_mean.defined() == running_var.defined(), type,
                    ": has one of running mean and variance only");
  for (const Tensor& v : {running_mean, running_var, weight, bias})
    check<ShapeError>(!v.defined() || v.shape() == Shape{num_features_}, type,
                      ": expects weight, bias and running statistics of one shape, [channels], got ",
                      v.defined() ? v.shape() : Shape(), " for ", num_features_, " channels");
}

Tensor BatchNorm::forward(const Tensor& x) { return run(x, false); }
Tensor BatchNorm::forward_relu(const Tensor& x) { return run(x, true); }

std::unique_ptr<InferenceStep> BatchNorm::inference_step(std::span<const ValueInfo> inputs) const {
  return running_mean.defined() ? batch_norm_step(*this, inputs) : nullptr;
}

Tensor BatchNorm::run(const Tensor& x, bool relu) {
  check<ShapeError>(takes(x.shape()), type_, ": takes no input of shape ", x.shape());
  if (!running_mean.defined()) {
    check<ShapeError>(x.shape(1) == num_features_, type_, ": expects ", num_features_, " channels, got input ",
                      x.shape());
    return batch_norm(x, weight, bias, {}, {}, {.training = true, .eps = eps_, .relu = relu});
  }
  if (!training()) return batch_norm(x, weight, bias, running_mean, running_var, {.eps = eps_, .relu = relu});
  // Made before the statistics change: they do so together, or not at all where memory ends.
  const NDArray count = NDArray::from_vector<int64_t>({num_batches_tracked.item<int64_t>() + 1}, Shape{});
  const double momentum = momentum_ ? *momentum_ : 1 / static_cast<double>(count.item<int64_t>());
  const Tensor y = batch_norm(x, weight, bias, running_mean, running_var,
                              {.training = true, .momentum = momentum, .eps = eps_, .relu = relu});
  num_batches_tracked.set_data(count);
  return y;
}

void BatchNorm::state_changed() {
  if (!num_batches_tracked.defined()) return;
  constexpr int64_t kMost = int64_t{1} << 53;  // training counts on, which must not overflow
  const auto count = num_batches_tracked.item<int64_t>();
  check<ValueError>(count >= 0 && count < kMost, type_, ": num_batches_tracked is ", count, ", not in [0, 2^53)");
}

Attributes BatchNorm::attributes() const {
  Attributes a{{"num_features", num_features()}, {"eps", eps_}, {"affine", weight.defined()}};
  momentum_ ? a.set("momentum", *momentum_) : a.set(kCumulative, true);
  return a;
}

}  // namespace thimble::nn
