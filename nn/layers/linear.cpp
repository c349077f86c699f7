#include <thimble/core/ops/matmul.h>
#include <thimble/nn/inference/linear_step.h>
#include <thimble/nn/init.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {

namespace {

const LayerRegistration linear_registration{"Linear", [](const Attributes& a) { return make_linear<Linear>(a); }};

Shape weight_shape(int64_t in_features, int64_t out_features) {
  check<ValueError>(in_features > 0 && out_features > 0, "Linear: in_features ", in_features, " and out_features ",
                    out_features, " must be at least 1");
  return {out_features, in_features};
}

}  // namespace

Linear::Linear(int64_t in_features, int64_t out_features, Options options)
    : weight(register_parameter("weight", init::default_weight(weight_shape(in_features, out_features)))),
      bias(register_parameter("bias", options.bias ? init::default_bias(out_features, weight.shape()) : Tensor())) {}

Linear::Linear(Tensor w, Tensor b)
    : weight(register_parameter("weight", std::move(w))), bias(register_parameter("bias", std::move(b))) {
  check<ShapeError>(weight.ndim() == 2, "Linear: weight must be [out_features, in_features], got ", weight.shape());
  check<ShapeError>(!bias.defined() || bias.shape() == Shape{weight.shape(0)}, "Linear: bias must be [",
                    weight.shape(0), "], got ", bias.defined() ? bias.shape() : Shape());
}

Tensor Linear::forward(const Tensor& x) { return linear(x, weight, bias); }

std::unique_ptr<InferenceStep> Linear::inference_step(std::span<const ValueInfo> inputs) const {
  return linear_step(weight, bias, false, inputs);
}

Attributes Linear::attributes() const {
  return {{"in_features", in_features()}, {"out_features", out_features()}, {"bias", bias.defined()}};
}

}  // namespace thimble::nn
