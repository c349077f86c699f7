#include <algorithm>
#include <cmath>
#include <functional>
#include <unordered_map>

#include <thimble/nn/inference/batch_norm_step.h>
#include <thimble/nn/inference/following.h>

namespace thimble::nn {

namespace {

Following clamp_op(const Attributes& a) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return {.lower = static_cast<float>(a.get("min", -kInfinity)), .upper = static_cast<float>(a.get("max", kInfinity))};
}

const std::unordered_map<std::string_view, std::function<Following(const Attributes&)>> kOps = {
    {"add", [](const Attributes&) { return Following{.adds = true}; }},
    {"add_relu", [](const Attributes&) { return Following{.adds = true, .lower = 0}; }},
    {"clamp", clamp_op},
    {"relu", [](const Attributes&) { return Following{.lower = 0}; }},
    {"relu6", [](const Attributes&) { return Following{.lower = 0, .upper = 6}; }},
};

// gamma * (x - mean) / sqrt(variance + eps) + beta
ChannelScale scale_of(const BatchNorm& bn) {
  ChannelScale result{&bn, bn.running_var.data().to_vector<double>(), bn.running_mean.data().to_vector<double>()};
  const size_t channels = result.scale.size();
  const auto gamma = bn.weight.defined() ? bn.weight.data().to_vector<double>() : std::vector<double>(channels, 1);
  const auto beta = bn.bias.defined() ? bn.bias.data().to_vector<double>() : std::vector<double>(channels, 0);
  for (size_t c = 0; c < channels; ++c) {
    result.scale[c] = gamma[c] / std::sqrt(result.scale[c] + bn.eps());
    result.shift[c] = beta[c] - result.shift[c] * result.scale[c];
  }
  return result;
}

}  // namespace

bool Following::append(const Following& next) {
  const bool clamps = lower > -std::numeric_limits<float>::infinity() || upper < std::numeric_limits<float>::infinity();
  if (next.scale && (scale || adds || clamps)) return false;
  if (next.adds && (adds || clamps)) return false;
  if (next.scale) scale = next.scale;
  adds = adds || next.adds;
  lower = std::clamp(lower, next.lower, next.upper);
  upper = std::clamp(upper, next.lower, next.upper);
  return true;
}

bool can_follow(const Graph& graph, const Node& node) {
  return node.kind == Node::Kind::op ? kOps.contains(node.target) : graph.layer_as<BatchNorm>(&node) != nullptr;
}

std::optional<Following> following(const Graph& graph, const Node& node, const ValueInfo& x) {
  if (x.dtype != DType::float32) return std::nullopt;
  if (node.kind == Node::Kind::op) {
    const auto op = kOps.find(node.target);
    return op == kOps.end() ? std::nullopt : std::optional(op->second(node.attributes));
  }
  if (node.kind != Node::Kind::layer || node.inputs.size() != 1) return std::nullopt;
  const BatchNorm* bn = batch_norm_of(graph.layer(&node), x);
  return bn ? std::optional(Following{.scale = std::make_shared<const ChannelScale>(scale_of(*bn))}) : std::nullopt;
}

}  // namespace thimble::nn
