// What ops do when a graph runs on an executor.
#include <algorithm>

#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

namespace {

std::unique_ptr<InferenceStep> flatten_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  const int ndim = x.shape.ndim();
  const auto start = attributes.get<int64_t>("start_dim"), end = attributes.get<int64_t>("end_dim");
  // Every sample into one row: the usual one.
  if (ndim < 2 || start != 1 || (end != -1 && end != ndim - 1) || x.shape[0] == 0) return nullptr;
  ValueInfo y{{x.shape[0], x.shape.numel() / x.shape[0]}, x.dtype, x.flattened_image};
  const bool order_matters = x.is_image() && x.shape[1] > 1 && x.shape[2] * x.shape[3] > 1;
  if (order_matters) y.flattened_image = {x.shape[1], x.shape[2], x.shape[3]};
  return std::make_unique<ViewStep>(y);
}

const StepRegistration flatten_registration("flatten", flatten_step);

using Names = std::span<const std::string_view>;

constexpr std::string_view kPointwise[] = {"abs", "clamp", "erf",   "exp",  "gelu", "leaky_relu", "log", "neg",
                                           "pow", "relu",  "relu6", "silu", "sqrt", "sigmoid",    "tanh"};
constexpr std::string_view kPerSample[] = {"adaptive_avg_pool2d", "avg_pool2d", "group_norm", "max_pool2d",
                                           "upsample_nearest2d"};
constexpr std::string_view kBinary[] = {"add", "add_relu", "div", "maximum", "minimum", "mul", "sub"};

bool contains(Names names, std::string_view name) { return std::ranges::find(names, name) != names.end(); }

}  // namespace

bool is_pointwise_op(std::string_view op, std::span<const ValueInfo> inputs) {
  if (inputs.size() == 1) return contains(kPointwise, op);
  // Of one shape, so that nothing is broadcast, neither along the batch.
  return inputs.size() == 2 && inputs[0].shape == inputs[1].shape && contains(kBinary, op);
}

bool is_per_sample_op(std::string_view op, const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const int ndim = inputs.empty() ? 0 : inputs[0].shape.ndim();
  if (op == "softmax" || op == "log_softmax") {
    const auto axis = attributes.get<int64_t>("axis", -1);
    return axis != 0 && axis != -ndim;
  }
  if (op == "layer_norm") return attributes.get<int64_t>("dims") < ndim;
  // One matrix a sample.
  if (op == "matmul") return ndim >= 3 && inputs[1].shape.ndim() == ndim && inputs[0].shape[0] == inputs[1].shape[0];
  return is_pointwise_op(op, inputs) || (inputs.size() == 1 && contains(kPerSample, op));
}

}  // namespace thimble::nn
