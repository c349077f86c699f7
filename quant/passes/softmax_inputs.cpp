#include <algorithm>
#include <cmath>
#include <unordered_map>
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
constexpr double kFinite = -10000;  // for what is farther, in front of integers

const nn::LayerRegistration softmax_range_registration{
    "SoftmaxRange", [](const Attributes& a) { return std::make_shared<SoftmaxRange>(a.get<int64_t>("axis")); }};

std::vector<float> floats_of_mask(const Tensor& mask) { return mask.data().to_vector<float>(); }

}  // namespace

Tensor SoftmaxRange::forward(const Tensor& x) {
  const int axis = normalize_axis(axis_, x.ndim(), "SoftmaxRange");
  if (x.numel() == 0) return x;
  // So far down, all elements of a line together are half a step of 8 bits.
  const double needed = std::log(2.0 * 255 * static_cast<double>(x.shape(axis)));
  const Tensor largest = max(x, {axis}, /*keepdim=*/true);
  const Tensor is_masked = less(largest, Tensor::scalar(kFar, x.dtype()));
  return where(is_masked, Tensor::scalar(0, x.dtype()), maximum(x, largest - needed));
}

Node* only_softmax_behind(const Graph& graph, const Node* value) {
  const std::vector<Node*> users = readers_of(graph, value);
  const bool is_only = users.size() == 1 && !graph.is_output(value) && graph.is_op(users[0], "softmax");
  return is_only ? users[0] : nullptr;
}

namespace {

bool is_tensor(const Node* node) { return node->kind == Node::Kind::tensor; }

bool is_far(float v) { return v < kFar; }

bool can_be_mask(const Tensor& constant) {
  if (constant.dtype() != DType::float32) return false;
  return std::ranges::all_of(floats_of_mask(constant), [](float v) { return v <= -kFar; });  // not NaN, either
}

// Which of the operands between which a constant chooses is the number that masks out; 0 if none is.
size_t fill_of(const Graph& graph, const Node* node) {
  if (!graph.is_op(node, "where") || node->inputs.size() != 3 || !is_tensor(node->inputs[0])) return 0;
  for (const size_t i : {1, 2}) {
    const Node* fill = node->inputs[i];
    if (!is_tensor(fill) || is_tensor(node->inputs[3 - i])) continue;
    const Tensor number = graph.tensor(fill);
    if (number.numel() == 1 && number.ndim() <= graph.tensor(node->inputs[0]).ndim() && can_be_mask(number) &&
        is_far(floats_of_mask(number)[0]))
      return i;
  }
  return 0;
}

bool adds_mask(const Graph& graph, const Node* node) {
  if (!graph.is_op(node, "add") || node->inputs.size() != 2) return false;
  return std::ranges::count_if(node->inputs, is_tensor) == 1 && only_softmax_behind(graph, node) &&
         can_be_mask(graph.tensor(node->inputs[mask_of(node)]));
}

// Small ones, at least: how large they are is known after the calibration.
bool hides_any_scores_evenly(const Graph& graph, const Node* added) {
  const auto axis = only_softmax_behind(graph, added)->attributes.get<int64_t>("axis", -1);
  return hides_evenly(graph.tensor(added->inputs[mask_of(added)]), axis, -1, 1);
}

// What integers get in the place of a masking node's constant.
std::vector<float> values_of_mask(const Graph& graph, const Node* node, const Masking& masking) {
  const Tensor constant = graph.tensor(node->inputs[masking.constant]);
  std::vector<float> values = floats_of_mask(constant);
  for (float& v : values) {
    const bool is_out = masking.fill == 0 ? is_far(v) : (v != 0) == (masking.fill == 1);
    v = is_out ? static_cast<float>(kFinite) : masking.fill == 0 ? v : 0;
  }
  return values;
}

std::string free_name(const Graph& graph, std::string name) {
  while (graph.find(name)) name += '_';
  return name;
}

}  // namespace

bool hides_evenly(const Tensor& mask, int64_t axis, float low, float high) {
  const int64_t last = mask.ndim() - 1, its = axis < 0 ? axis + mask.ndim() : std::min(axis, last);
  const int64_t size = its < 0 ? 1 : mask.shape(static_cast<int>(its));
  int64_t step = 1;
  for (int64_t d = its + 1; its >= 0 && d <= last; ++d) step *= mask.shape(static_cast<int>(d));
  const std::vector<float> values = floats_of_mask(mask);
  const auto is_rounded_to = [&](float number) { return number + low == number && number + high == number; };
  for (int64_t line = 0; size > 0 && line < mask.numel() / size; ++line) {
    const float* first = values.data() + line / step * step * size + line % step;
    bool is_hidden = true, is_even = is_rounded_to(*first);
    for (int64_t i = 0; i < size; ++i) {
      is_hidden &= is_far(first[i * step]);
      is_even &= first[i * step] == *first;
    }
    if (is_hidden && !is_even) return false;
  }
  return true;
}

std::optional<Masking> masking_of(const Graph& graph, const Node* node) {
  if (const size_t fill = fill_of(graph, node); fill != 0 && only_softmax_behind(graph, node))
    return Masking{.scores = 3 - fill, .constant = 0, .fill = fill};
  if (!adds_mask(graph, node) || !hides_any_scores_evenly(graph, node)) return std::nullopt;
  return Masking{.scores = 1 - mask_of(node), .constant = mask_of(node)};
}

bool adds_uneven_mask(const Graph& graph, const Node* node) {
  return adds_mask(graph, node) && !hides_any_scores_evenly(graph, node);
}

void add_subtracted_constants(Graph& graph, const std::function<bool(const Node*)>& is_wanted) {
  const NoGrad guard;
  std::unordered_map<Node*, Node*> negatives;
  for (Node* node : graph.nodes()) {
    const bool subtracts = graph.is_op(node, "sub") && node->inputs.size() == 2 && is_tensor(node->inputs[1]);
    if (!subtracts || is_tensor(node->inputs[0]) || !only_softmax_behind(graph, node) || !is_wanted(node)) continue;
    Node* constant = node->inputs[1];
    Node*& negative = negatives[constant];
    if (!negative) {
      negative = graph.add_op(free_name(graph, constant->name + ".negative"), "neg", {}, {constant}, constant);
      graph.replace_by_tensor(negative, -graph.tensor(constant));
    }
    graph.replace_op(node, "add", {});
    graph.set_input(node, 1, negative);
  }
  for (const auto& [constant, negative] : negatives)
    if (graph.num_users(constant) == 0 && !graph.is_output(constant)) graph.erase(constant);
}

Node* AddedMasks::replace(Node* node) {
  const Masking masking = masking_of(graph_, node).value();
  Node* constant = node->inputs[masking.constant];
  Node*& mask = masks_[{constant, masking.fill}];
  if (!mask) {
    const Tensor values(NDArray::from_vector(values_of_mask(graph_, node, masking), graph_.tensor(constant).shape()));
    mask = graph_.add_op(free_name(graph_, constant->name + ".mask"), "clamp", {}, {constant}, constant);
    graph_.replace_by_tensor(mask, values);
  }
  if (masking.fill == 0) {
    graph_.set_input(node, masking.constant, mask);
    return node;
  }
  const std::string name = node->name;
  graph_.rename(node, free_name(graph_, name + ".where"));
  Node* sum = graph_.add_op(name, "add", {}, {node->inputs[masking.scores], mask}, node);
  graph_.replace_uses(node, sum);
  graph_.erase(node);
  return sum;
}

size_t mask_of(const Node* added) { return is_tensor(added->inputs[0]) ? 0 : 1; }

Tensor as_softmax_sees(const Tensor& x, int64_t axis) {
  const Tensor cut = SoftmaxRange(axis).forward(x);
  if (cut.numel() == 0) return cut;
  return cut - max(cut, {normalize_axis(axis, x.ndim(), "softmax")}, /*keepdim=*/true);
}

float low_end(const TensorQParams& p) { return p.scale * static_cast<float>(-p.zero_point); }
float high_end(const TensorQParams& p) { return p.scale * static_cast<float>(p.qmax() - p.zero_point); }

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

TensorQParams qparams_within(const Tensor& constant, double least, double most, int bits) {
  float low = 0, high = 0;
  for (const float v : floats_of_mask(constant)) {
    const float within = std::min(std::max(v, static_cast<float>(least)), static_cast<float>(most));
    low = std::min(low, within);
    high = std::max(high, within);
  }
  return TensorQParams::from(choose_qparams(low, high, {.bits = bits}));
}

}  // namespace thimble::quant
