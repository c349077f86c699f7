#include <algorithm>
#include <cmath>
#include <vector>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/softmax_inputs.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

constexpr double kFar = -1000;      // no score is so small: what is added to one masks it out
constexpr double kFinite = -10000;  // for minus infinity; scores do not reach as far up

const nn::LayerRegistration softmax_range_registration{
    "SoftmaxRange", [](const Attributes& a) { return std::make_shared<SoftmaxRange>(a.get<int64_t>("axis")); }};

float low_end(const TensorQParams& p) { return p.scale * static_cast<float>(-p.zero_point); }
float high_end(const TensorQParams& p) { return p.scale * static_cast<float>(p.qmax() - p.zero_point); }

std::vector<float> floats_of_mask(const Tensor& mask) { return mask.data().to_vector<float>(); }

}  // namespace

Tensor SoftmaxRange::forward(const Tensor& x) {
  const int axis = normalize_axis(axis_, x.ndim(), "SoftmaxRange");
  if (x.numel() == 0) return x;
  // So far down, all elements of a line together are half a step of 8 bits.
  const double needed = std::log(2.0 * 255 * static_cast<double>(x.shape(axis)));
  const Tensor largest = max(x, {axis}, /*keepdim=*/true);
  const Tensor is_masked = less(largest, Tensor::scalar(kFinite / 2, x.dtype()));
  return where(is_masked, Tensor::scalar(0, x.dtype()), maximum(x, largest - needed));
}

const Node* only_softmax_behind(const Graph& graph, const Node* value) {
  const std::vector<Node*> users = readers_of(graph, value);
  const bool is_only = users.size() == 1 && !graph.is_output(value) && graph.is_op(users[0], "softmax");
  return is_only ? users[0] : nullptr;
}

namespace {

bool is_tensor(const Node* node) { return node->kind == Node::Kind::tensor; }

// Which of the operands between which a constant chooses is the number that masks out; 0 if none is.
size_t fill_of(const Graph& graph, const Node* node) {
  if (!graph.is_op(node, "where") || node->inputs.size() != 3 || !is_tensor(node->inputs[0])) return 0;
  for (const size_t i : {1, 2}) {
    const Node* fill = node->inputs[i];
    if (!is_tensor(fill) || is_tensor(node->inputs[3 - i])) continue;
    const Tensor number = graph.tensor(fill);
    if (number.numel() == 1 && number.ndim() <= graph.tensor(node->inputs[0]).ndim() && can_be_mask(number) &&
        masks_out(number))
      return i;
  }
  return 0;
}

// The number where the condition chooses it, 0 elsewhere.
Tensor mask_for(const Tensor& condition, bool where_true, const Tensor& fill) {
  const float number = floats_of_mask(fill)[0];
  std::vector<float> values;
  for (const double choice : condition.data().to_vector<double>())
    values.push_back((choice != 0) == where_true ? number : 0);
  return Tensor(NDArray::from_vector(values, condition.shape()));
}

void replace_by_sum(Graph& graph, Node* node, size_t fill) {
  const std::string name = node->name;
  std::string aside = name + ".where";
  while (graph.find(aside)) aside += '_';
  graph.rename(node, aside);
  Node* condition = node->inputs[0];
  const Tensor values = mask_for(graph.tensor(condition), fill == 1, graph.tensor(node->inputs[fill]));
  Node* mask = graph.add_op(name + ".mask", "clamp", {}, {condition}, condition);
  graph.replace_by_tensor(mask, values);
  graph.replace_uses(node, graph.add_op(name, "add", {}, {node->inputs[3 - fill], mask}, node));
  graph.erase(node);
}

}  // namespace

void add_masks(Graph& graph) {
  for (Node* node : graph.nodes())
    if (const size_t fill = fill_of(graph, node); fill != 0 && only_softmax_behind(graph, node))
      replace_by_sum(graph, node, fill);
}

bool is_masking(const Graph& graph, const Node* node) {
  if (!graph.is_op(node, "add") || node->inputs.size() != 2) return false;
  return std::ranges::count_if(node->inputs, is_tensor) == 1 && only_softmax_behind(graph, node);
}

size_t mask_of(const Node* node) { return is_tensor(node->inputs[0]) ? 0 : 1; }

bool can_be_mask(const Tensor& constant) {
  if (constant.dtype() != DType::float32) return false;
  return std::ranges::all_of(floats_of_mask(constant), [](float v) { return v <= -kFar; });  // not NaN, either
}

bool masks_out(const Tensor& constant) {
  return std::ranges::any_of(floats_of_mask(constant), [](float v) { return v < kFar; });
}

Tensor finite_mask(const Tensor& constant) {
  std::vector<float> values = floats_of_mask(constant);
  for (float& v : values)
    if (v < kFar) v = static_cast<float>(kFinite);
  return Tensor(NDArray::from_vector(values, constant.shape()));
}

TensorQParams needed_scores(const TensorQParams& scores, const Tensor& mask, const TensorQParams& sum) {
  const std::vector<float> values = floats_of_mask(mask);
  if (values.empty()) return scores;
  const float least = low_end(sum) - std::ranges::max(values);
  return TensorQParams::from(
      choose_qparams(std::min(std::max(low_end(scores), least), 0.0f), high_end(scores), {.bits = scores.bits}));
}

double least_of_mask(const TensorQParams& scores, const TensorQParams& sum) {
  constexpr double kMargin = 1.05;  // for scores that are rounded up
  return kMargin * double{low_end(sum) - high_end(scores)};
}

TensorQParams mask_qparams(const Tensor& mask, double least, int bits) {
  float low = 0, high = 0;
  for (const float v : floats_of_mask(mask)) {
    low = std::min(low, std::max(v, static_cast<float>(least)));
    high = std::max(high, v);
  }
  return TensorQParams::from(choose_qparams(low, high, {.bits = bits}));
}

}  // namespace thimble::quant
