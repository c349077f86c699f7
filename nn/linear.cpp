#include <thimble/core/ops/matmul.h>
#include <thimble/nn/init.h>
#include <thimble/nn/linear.h>

namespace thimble::nn {

namespace {

const LayerRegistration registration{
    "Linear", [](const Attributes& a) -> std::shared_ptr<Module> {
      const auto in = a.get<int64_t>("in_features"), out = a.get<int64_t>("out_features");
      check<FormatError>(in > 0 && out > 0, "Linear: sizes ", in, " and ", out);
      return std::make_shared<Linear>(NDArray({out, in}), a.get<bool>("bias") ? NDArray({out}) : Tensor());
    }};

Shape weight_shape(int64_t in_features, int64_t out_features) {
  check<ValueError>(in_features > 0 && out_features > 0, "Linear: in_features ", in_features, " and out_features ",
                    out_features, " must be at least 1");
  return {out_features, in_features};
}

}  // namespace

Linear::Linear(int64_t in_features, int64_t out_features, Options options)
    : weight(register_parameter("weight", init::default_weight(weight_shape(in_features, out_features)))) {
  if (options.bias) bias = register_parameter("bias", init::default_bias(out_features, weight.shape()));
}

Linear::Linear(Tensor w, Tensor b) : weight(register_parameter("weight", std::move(w))) {
  if (b.defined()) bias = register_parameter("bias", std::move(b));
}

Tensor Linear::forward(const Tensor& x) { return linear(x, weight, bias); }

Attributes Linear::attributes() const {
  return {{"in_features", in_features()}, {"out_features", out_features()}, {"bias", bias.defined()}};
}

}  // namespace thimble::nn
