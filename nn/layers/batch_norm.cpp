#include <cmath>

#include <thimble/core/ops/norm.h>
#include <thimble/nn/inference/batch_norm_step.h>
#include <thimble/nn/layers/batch_norm.h>

namespace thimble::nn {

namespace {

template <typename T>
std::shared_ptr<Module> make(const Attributes& a) {
  const auto features = a.get<int64_t>("num_features");
  check<FormatError>(features > 0, "batch norm: num_features ", features, " must be at least 1");
  auto tensor = [&] { return Tensor(NDArray::placeholder({features})); };
  const bool affine = a.get<bool>("affine");
  return std::make_shared<T>(affine ? tensor() : Tensor(), affine ? tensor() : Tensor(), tensor(), tensor(),
                             a.get<double>("eps"), a.get<double>("momentum"));
}

NDArray filled(const char* type, int64_t num_features, double value) {
  check<ValueError>(num_features > 0, type, ": num_features ", num_features, " must be at least 1");
  return NDArray::full({num_features}, value);
}

const LayerRegistration batch_norm_registrations[] = {
    {"BatchNorm2d", make<BatchNorm2d>},
    {"BatchNorm1d", make<BatchNorm1d>},
    {"BatchNorm3d", make<BatchNorm3d>},
};

}  // namespace

BatchNorm::BatchNorm(const char* type, int64_t num_features, Options o)
    : BatchNorm(type, o.affine ? Tensor(filled(type, num_features, 1)) : Tensor(),
                o.affine ? Tensor(filled(type, num_features, 0)) : Tensor(), filled(type, num_features, 0),
                filled(type, num_features, 1), o.eps, o.momentum) {}

BatchNorm::BatchNorm(const char* type, Tensor w, Tensor b, Tensor mean, Tensor var, double eps, double momentum)
    : weight(register_parameter("weight", std::move(w))),
      bias(register_parameter("bias", std::move(b))),
      running_mean(register_buffer("running_mean", std::move(mean))),
      running_var(register_buffer("running_var", std::move(var))),
      num_batches_tracked(register_buffer("num_batches_tracked", NDArray::zeros({}, DType::int64))),
      eps_(eps),
      momentum_(momentum) {
  check<ValueError>(eps > 0 && std::isfinite(eps), type, ": eps ", eps, " must be above 0");
  check<ValueError>(momentum >= 0 && momentum <= 1, type, ": momentum ", momentum, " is not in [0, 1]");
  check<ShapeError>(weight.defined() == bias.defined(), type, ": has one of weight and bias only");
  for (const Tensor& v : {running_mean, running_var, weight, bias})
    check<ShapeError>(!v.defined() || (v.ndim() == 1 && v.shape() == running_mean.shape()), type,
                      ": expects weight, bias and running statistics of one shape, [channels], got ",
                      v.defined() ? v.shape() : Shape(), " and ", running_mean.shape());
}

Tensor BatchNorm::forward(const Tensor& x) { return run(x, false); }
Tensor BatchNorm::forward_relu(const Tensor& x) { return run(x, true); }

std::unique_ptr<InferenceStep> BatchNorm::inference_step(std::span<const ValueInfo> inputs) const {
  return batch_norm_step(*this, inputs);
}

Tensor BatchNorm::run(const Tensor& x, bool relu) {
  check<ShapeError>(takes(x.shape()), type(), ": takes no input of shape ", x.shape());
  NDArray count;  // made before the statistics change: they do so together, or not at all where memory ends
  if (training()) count = NDArray::from_vector<int64_t>({num_batches_tracked.item<int64_t>() + 1}, Shape{});
  const Tensor y = batch_norm(x, weight, bias, running_mean, running_var,
                              {.training = training(), .momentum = momentum_, .eps = eps_, .relu = relu});
  if (training()) num_batches_tracked.set_data(count);
  return y;
}

void BatchNorm::state_changed() {
  constexpr int64_t kMost = int64_t{1} << 53;  // training counts on, which must not overflow
  const auto count = num_batches_tracked.item<int64_t>();
  check<ValueError>(count >= 0 && count < kMost, type(), ": num_batches_tracked is ", count, ", not in [0, 2^53)");
}

Attributes BatchNorm::attributes() const {
  return {{"num_features", num_features()}, {"eps", eps_}, {"momentum", momentum_}, {"affine", weight.defined()}};
}

}  // namespace thimble::nn
