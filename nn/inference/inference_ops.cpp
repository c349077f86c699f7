// What ops do when a graph runs on an executor.
#include <algorithm>

#include <thimble/core/shape.h>
#include <thimble/nn/inference/view_steps.h>

namespace thimble::nn {

namespace {

std::unique_ptr<InferenceStep> flatten_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  const int ndim = x.shape.ndim();
  const auto start = attributes.get<int64_t>("start_dim"), end = attributes.get<int64_t>("end_dim");
  // Every sample into one row: the usual one.
  const bool is_usual = ndim >= 2 && start == 1 && (end == -1 || end == ndim - 1) && x.shape[0] > 0;
  if (!is_usual || !x.strides.empty() || x.is_constant) return flattened_view(attributes, inputs);
  ValueInfo y{{x.shape[0], x.shape.numel() / x.shape[0]}, x.dtype, x.flattened_image};
  const bool order_matters = x.is_image() && x.shape[1] > 1 && x.shape[2] * x.shape[3] > 1;
  if (order_matters) y.flattened_image = {x.shape[1], x.shape[2], x.shape[3]};
  return std::make_unique<ViewStep>(y);
}

const StepRegistration flatten_registration("flatten", flatten_step);

using Names = std::span<const std::string_view>;

constexpr std::string_view kPointwise[] = {
    "abs",       "acos",       "acosh", "asin", "asinh",       "atan",      "atanh",    "ceil",  "celu",
    "clamp",     "cos",        "cosh",  "elu",  "erf",         "exp",       "expm1",    "floor", "gelu",
    "gelu_tanh", "log",        "log1p", "mish", "hardsigmoid", "hardswish", "neg",      "pow",   "relu",
    "relu6",     "leaky_relu", "round", "selu", "shrink",      "sigmoid",   "sign",     "silu",  "sin",
    "sinh",      "softplus",   "sqrt",  "tan",  "softsign",    "tanh",      "threshold"};
// Each element by itself, too, but of another dtype, or without a step of its own.
constexpr std::string_view kPerElement[] = {"bitwise_not", "cast", "isinf", "isnan", "logical_not", "rounded_to"};
constexpr std::string_view kPerSample[] = {
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool2d",    "avg_pool3d",      "group_norm",
    "local_response_norm", "lp_pool2d",           "lp_pool3d",     "max_pool2d",      "max_pool3d",
    "pad_same2d",          "pad_same3d",          "pixel_shuffle", "pixel_unshuffle", "upsample_nearest2d"};
constexpr std::string_view kBinary[] = {"add", "add_relu", "div", "maximum", "minimum", "mul", "pow", "prelu", "sub"};
constexpr std::string_view kPerPair[] = {
    "bitwise_and", "bitwise_left_shift", "bitwise_or",   "bitwise_right_shift", "bitwise_xor", "equal", "fmod",
    "greater",     "remainder",          "greater_equal"};
constexpr std::string_view kReductions[] = {"logsumexp", "max", "mean", "min", "prod", "sum", "var"};
constexpr std::string_view kAlongAxis[] = {"argmax",      "argmin",  "cumsum",      "hardmax",
                                           "log_softmax", "softmax", "topk_indices"};

bool contains(Names names, std::string_view name) { return std::ranges::find(names, name) != names.end(); }

bool is_axis_of_samples(int64_t axis, int ndim) { return axis == 0 || axis == -ndim; }

// "padding" is PyTorch's list, from the last axis on, "pads" is ONNX's: see Pad.
bool pads_axis_of_samples(const Attributes& attributes, int ndim) {
  if (!attributes.contains("pads")) {
    const auto padding = attributes.get<std::vector<int64_t>>("padding");
    return static_cast<int64_t>(padding.size()) > 2 * (ndim - 1);
  }
  const auto axes = attributes.get<std::vector<int64_t>>("axes", {});
  return axes.empty() || std::ranges::any_of(axes, [=](int64_t axis) { return is_axis_of_samples(axis, ndim); });
}

// Whether sample i of each operand meets those with number i of the others alone: constants are broadcast along the
// batch, all else has as many samples, in the same dimension.
bool meet_sample_by_sample(const ValueInfo& a, const ValueInfo& b) {
  const int ndim = std::max(a.shape.ndim(), b.shape.ndim());
  if (ndim == 0) return false;
  const int64_t samples = a.is_constant ? b.shape[0] : a.shape[0];
  const auto fits = [&](const ValueInfo& x) {
    const bool has_samples = x.shape.ndim() == ndim && x.shape[0] == samples;
    return x.is_constant ? x.shape.ndim() < ndim || x.shape[0] == 1 : has_samples;
  };
  return !(a.is_constant && b.is_constant) && fits(a) && fits(b);
}

}  // namespace

bool is_pointwise_op(std::string_view op, std::span<const ValueInfo> inputs) {
  if (inputs.size() == 1) return contains(kPointwise, op);
  if (inputs.size() != 2 || !contains(kBinary, op)) return false;
  const Shape &a = inputs[0].shape, &b = inputs[1].shape;
  const Shape both = broadcast_shapes(a, b, std::string(op).c_str());
  return both == a || both == b;
}

bool is_per_sample_op(std::string_view op, const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const int ndim = inputs.empty() ? 0 : inputs[0].shape.ndim();
  if (inputs.size() == 2 && (contains(kBinary, op) || contains(kPerPair, op)))
    return meet_sample_by_sample(inputs[0], inputs[1]);
  if (ndim == 0 || (inputs.size() == 1 && inputs[0].is_constant)) return false;
  if (contains(kAlongAxis, op)) return !is_axis_of_samples(attributes.get<int64_t>("axis", -1), ndim);
  if (op == "concat") return !is_axis_of_samples(attributes.get<int64_t>("axis", 0), ndim);
  if (op == "stack") return !is_axis_of_samples(attributes.get<int64_t>("axis", 0), ndim + 1);
  if (contains(kReductions, op)) {
    const auto axes = attributes.get<std::vector<int64_t>>("axes");
    return !axes.empty() && std::ranges::none_of(axes, [=](int64_t axis) { return is_axis_of_samples(axis, ndim); });
  }
  if (op == "pad") return inputs.size() == 1 && !pads_axis_of_samples(attributes, ndim);
  if (op == "layer_norm") return attributes.get<int64_t>("dims") < ndim;
  // One matrix a sample.
  if (op == "matmul") return ndim >= 3 && inputs[1].shape.ndim() == ndim && inputs[0].shape[0] == inputs[1].shape[0];
  return inputs.size() == 1 && (contains(kPointwise, op) || contains(kPerElement, op) || contains(kPerSample, op));
}

}  // namespace thimble::nn
