#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <thimble/nn/layers/batch_norm.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/layer_like.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/softmax_inputs.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

bool is_layer_of(const Graph& graph, const Node* node, std::initializer_list<std::string_view> types) {
  return std::ranges::any_of(types, [&](std::string_view type) { return graph.is_layer(node, type); });
}

bool is_batch_norm(const Graph& graph, const Node* node) {
  return is_layer_of(graph, node, {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d"});
}

bool can_take_batch_norm(const Graph& graph, const Node* node, const Node* batch_norm) {
  if (graph.is_layer(batch_norm, "BatchNorm2d")) return graph.is_layer(node, "Conv2d");
  if (graph.is_layer(batch_norm, "BatchNorm3d")) return graph.is_layer(node, "Conv3d");
  return is_layer_of(graph, node, {"Conv1d", "Linear"});
}

bool can_take_relu(const Graph& graph, const Node* node) {
  return is_layer_of(graph, node, {"Conv2d", "Linear"}) || graph.is_op(node, "add");
}

// The sizes that a number for each output channel has, counted from the last dimension: [out] of rows, [out, 1, 1] of
// images.
bool is_one_for_each_channel(const Graph& graph, const Node* layer, const Tensor& values) {
  const Tensor weight = tensor_of(graph.layer(layer), "weight");
  const bool is_image = !graph.is_layer(layer, "Linear");
  const int64_t channels = graph.layer(layer).attributes().get<int64_t>(is_image ? "out_channels" : "out_features");
  const Shape& s = values.shape();
  const Shape expected = is_image ? Shape{channels, 1, 1} : Shape{channels};
  return values.dtype() == weight.dtype() && (s == expected || (is_image && s == Shape{1, channels, 1, 1}));
}

// What an op makes of each output channel of a layer: factor * x + shift.
struct ChannelAffine {
  Node* constant = nullptr;  // null: none
  size_t layer = 0;          // the op's input that is the layer's
  std::vector<double> factor = {}, shift = {};

  bool keeps_weights() const {
    return std::ranges::all_of(factor, [](double f) { return f == 1; });
  }
};

std::vector<double> doubles_of(const Tensor& tensor, size_t count, double otherwise) {
  return tensor.defined() ? tensor.data().to_vector<double>() : std::vector<double>(count, otherwise);
}

// Of x and the constant c of an op.
ChannelAffine affine_with(std::string_view op, Node* constant, size_t layer, const std::vector<double>& c) {
  ChannelAffine affine{constant, layer, std::vector<double>(c.size(), 1), std::vector<double>(c.size(), 0)};
  for (size_t i = 0; i < c.size(); ++i) {
    if (op == "mul") affine.factor[i] = c[i];
    if (op == "div") affine.factor[i] = 1 / c[i];
    if (op == "add" || (op == "sub" && layer == 1)) affine.shift[i] = c[i];
    if (op == "sub" && layer == 0) affine.shift[i] = -c[i];
    if (op == "sub" && layer == 1) affine.factor[i] = -1;
  }
  return affine;
}

// Whether weights and bias stay numbers that floats hold well.
bool is_sound(const ChannelAffine& affine) {
  constexpr double kMost = 1e6;
  const auto keeps_digits = [](double f) { return f == 0 || (std::abs(f) >= 1 / kMost && std::abs(f) <= kMost); };
  return std::ranges::all_of(affine.factor, keeps_digits) &&
         std::ranges::all_of(affine.shift, [](double s) { return std::isfinite(s); });
}

// What hides scores in front of a softmax is no bias: integers need it as a mask.
bool hides_scores(const Graph& graph, const Node* node, const Node* constant) {
  return only_softmax_behind(graph, node) && !can_be_integers(graph.tensor(constant));
}

// What an op does with a constant to what a layer gives, if weights and bias can take it over: x + c, x - c, c - x,
// x * c, x / c.
ChannelAffine channel_affine(const Graph& graph, const Node* node) {
  const bool is_arithmetic = node->kind == Node::Kind::op && node->inputs.size() == 2 &&
                             std::ranges::count(std::array{"add", "sub", "mul", "div"}, node->target) > 0;
  if (!is_arithmetic) return {};
  const size_t layer = node->inputs[1]->kind == Node::Kind::tensor ? 0 : 1;
  Node *constant = node->inputs[1 - layer], *first = node->inputs[layer];
  const bool fits = constant->kind == Node::Kind::tensor &&
                    is_layer_of(graph, first, {"Conv2d", "ConvTranspose2d", "Linear"}) &&
                    is_one_for_each_channel(graph, first, graph.tensor(constant));
  if (!fits || (node->target == "div" && layer == 1) || hides_scores(graph, node, constant)) return {};
  ChannelAffine affine = affine_with(node->target, constant, layer, graph.tensor(constant).data().to_vector<double>());
  const bool takes_factors = is_layer_of(graph, first, {"Conv2d", "Linear"});
  return is_sound(affine) && (takes_factors || affine.keeps_weights()) ? affine : ChannelAffine();
}

// The node that another one's work may go into: what it reads, without a constant.
Node* first_of(const Graph& graph, const Node* second) {
  const ChannelAffine affine = channel_affine(graph, second);
  if (affine.constant) return second->inputs[affine.layer];
  return second->inputs.size() == 1 ? second->inputs[0] : nullptr;
}

// Whether the nodes are of kinds that can be fused.
bool is_pair(const Graph& graph, const Node* first, const Node* second) {
  if (channel_affine(graph, second).constant) return true;
  if (graph.is_op(second, "relu")) return can_take_relu(graph, first);
  return is_batch_norm(graph, second) && can_take_batch_norm(graph, first, second);
}

// Why the normalization cannot go into the layer's weights; empty if it can.
std::string obstacle_of_batch_norm(const Graph& graph, const Node* first, const Node* second) {
  const auto& bn = *graph.layer_as<nn::BatchNorm>(second);
  const Tensor weight = tensor_of(graph.layer(first), "weight");
  if (bn.training()) return str("'", second->name, "' is in training mode");
  if (graph.calls_of_layer(second) != graph.calls_of_layer(first))
    return str("the layer of '", second->name, "' is called behind others, too");
  if (bn.num_features() != weight.shape(0))
    return str("'", second->name, "' normalizes ", bn.num_features(), " features, '", first->name, "' has ",
               weight.shape(0), " output channels");
  if (graph.is_layer(first, "Linear") && first->attributes.get<int64_t>("ndim", 0) != 2)
    return str("the output of '", first->name, "' is not known to be rows (2 dimensions)");
  return {};
}

// Why the two nodes, which are a pair, cannot be fused; empty if they can.
std::string obstacle(const Graph& graph, const Node* first, const Node* second) {
  if (graph.is_output(first)) return str("'", first->name, "' is the graph's output");
  for (const Node* user : graph.users(first))
    if (user != second) return str("'", user->name, "' uses '", first->name, "', too");
  return is_batch_norm(graph, second) ? obstacle_of_batch_norm(graph, first, second) : std::string();
}

// The layer whose outputs are factor * y + shift, for each channel.
std::shared_ptr<nn::Module> with_affine(const nn::Module& layer, const std::vector<double>& factor,
                                        const std::vector<double>& shift) {
  const Tensor own_weight = tensor_of(layer, "weight");
  const size_t channels = factor.size();
  std::vector<double> weight = doubles_of(own_weight, 0, 0), bias = doubles_of(tensor_of(layer, "bias"), channels, 0);
  const size_t weights_of_channel = weight.size() / channels;
  for (size_t c = 0; c < channels; ++c) {
    bias[c] = bias[c] * factor[c] + shift[c];
    for (size_t i = 0; i < weights_of_channel; ++i) weight[c * weights_of_channel + i] *= factor[c];
  }
  const DType dtype = own_weight.dtype();
  return layer_like(layer, layer.type(), NDArray::from_vector(weight, own_weight.shape()).to(dtype),
                    NDArray::from_vector(bias).to(dtype));
}

// y = gamma * (x - mean) / sqrt(var + eps) + beta.
std::shared_ptr<nn::Module> with_batch_norm(const nn::Module& layer, const nn::BatchNorm& bn) {
  const auto channels = static_cast<size_t>(bn.num_features());
  std::vector<double> factor = doubles_of(bn.weight, channels, 1), shift = doubles_of(bn.bias, channels, 0);
  const std::vector<double> mean = doubles_of(bn.running_mean, channels, 0);
  const std::vector<double> variance = doubles_of(bn.running_var, channels, 0);
  for (size_t c = 0; c < channels; ++c) {
    factor[c] /= std::sqrt(variance[c] + bn.eps());
    shift[c] -= mean[c] * factor[c];
  }
  return with_affine(layer, factor, shift);
}

// The weights stay the same memory.
std::shared_ptr<nn::Module> with_bias(const nn::Module& layer, const std::vector<double>& shift) {
  const Tensor weight = tensor_of(layer, "weight");
  std::vector<double> bias = doubles_of(tensor_of(layer, "bias"), shift.size(), 0);
  for (size_t c = 0; c < bias.size(); ++c) bias[c] += shift[c];
  return layer_like(layer, layer.type(), weight.data(), NDArray::from_vector(bias).to(weight.dtype()));
}

std::shared_ptr<nn::Module> with_relu(const nn::Module& layer) {
  const Tensor bias = tensor_of(layer, "bias");
  return layer_like(layer, layer.type() + "ReLU", tensor_of(layer, "weight").data(),
                    bias.defined() ? bias.data() : NDArray());
}

// What stands behind each call of a layer, which has one set of weights: it is fused with all of them or with none.
struct Pairs {
  std::vector<std::pair<Node*, Node*>> nodes;
  std::string obstacle;  // empty if they can be fused
};

class Fuser {
 public:
  Fuser(const Graph& graph, bool with_constants) : graph_(graph.clone()), with_constants_(with_constants) {
    for (Node* node : graph_.nodes())
      if (node->kind == Node::Kind::layer && graph_.calls_of_layer(node) > 1) calls_[node->target].push_back(node);
  }

  Graph run(FusionReport& attempts) {
    // In this order a pair's first node has become what it will be when the second one's turn comes.
    for (Node* second : graph_.nodes()) {
      if (gone_.contains(second)) continue;
      Node* first = first_of(graph_, second);
      if (!with_constants_ && channel_affine(graph_, second).constant) continue;
      if (!first || !is_pair(graph_, first, second)) continue;
      const Pairs pairs = pairs_with(first, second);
      if (pairs.obstacle.empty())
        fuse(pairs.nodes, attempts);
      else
        attempts.push_back({first->name, second->name, false, pairs.obstacle});
    }
    graph_.verify();
    return std::move(graph_);
  }

 private:
  // A layer, what its calls are to be followed by, and by which constant.
  using Following = std::tuple<std::string, Node::Kind, std::string, const Node*, size_t>;

  std::vector<Node*> calls_like(Node* node) const {
    const auto it = node->kind == Node::Kind::layer ? calls_.find(node->target) : calls_.end();
    return it == calls_.end() ? std::vector<Node*>{node} : it->second;
  }

  // What is against it is the same for all calls of a layer.
  Pairs pairs_with(Node* first, Node* second) {
    const ChannelAffine affine = channel_affine(graph_, second);
    const Following following{first->target, second->kind, second->target, affine.constant, affine.layer};
    const std::vector<Node*> calls = calls_like(first);
    if (const auto known = obstacles_.find(following); calls.size() > 1 && known != obstacles_.end())
      return {{}, known->second};
    Pairs pairs;
    for (Node* call : calls) {
      const std::vector<Node*> users = graph_.users(call);
      Node* follower = call == first ? second : users.empty() ? nullptr : users[0];
      pairs.obstacle = follower && does_the_same(follower, second)
                           ? thimble::quant::obstacle(graph_, call, follower)
                           : str("'", call->name, "', which calls the same layer, is not followed by the same");
      if (!pairs.obstacle.empty()) break;
      pairs.nodes.emplace_back(call, follower);
    }
    if (calls.size() > 1 && !pairs.obstacle.empty()) obstacles_.emplace(following, pairs.obstacle);
    return pairs;
  }

  // x * c is c * x.
  bool does_the_same(const Node* a, const Node* b) const {
    const ChannelAffine of_a = channel_affine(graph_, a), of_b = channel_affine(graph_, b);
    return a->kind == b->kind && a->target == b->target && of_a.constant == of_b.constant &&
           of_a.factor == of_b.factor && of_a.shift == of_b.shift;
  }

  // The first nodes take the second ones' work and their users.
  void fuse(const std::vector<std::pair<Node*, Node*>>& pairs, FusionReport& attempts) {
    const auto& [first, second] = pairs[0];
    const ChannelAffine affine = channel_affine(graph_, second);
    Node* constant = affine.constant;
    if (const auto* bn = graph_.layer_as<nn::BatchNorm>(second))
      graph_.replace_layer(first, with_batch_norm(graph_.layer(first), *bn));
    else if (constant)
      graph_.replace_layer(first, affine.keeps_weights()
                                      ? with_bias(graph_.layer(first), affine.shift)
                                      : with_affine(graph_.layer(first), affine.factor, affine.shift));
    else if (first->kind == Node::Kind::layer)
      graph_.replace_layer(first, with_relu(graph_.layer(first)));
    else
      graph_.replace_op(first, "add_relu", {});
    for (const auto& [call, follower] : pairs) {
      attempts.push_back({call->name, follower->name, true, ""});
      graph_.replace_uses(follower, call);
      graph_.erase(follower);
      gone_.insert(follower);
    }
    if (!constant || graph_.num_users(constant) > 0 || graph_.is_output(constant)) return;
    graph_.erase(constant);
    gone_.insert(constant);
  }

  Graph graph_;
  bool with_constants_;
  std::unordered_map<std::string, std::vector<Node*>> calls_;  // of layers that are called more than once
  std::map<Following, std::string> obstacles_;                 // for them
  std::unordered_set<const Node*> gone_;
};

Graph fused(const Graph& graph, bool with_constants, FusionReport* report) {
  FusionReport attempts;
  Graph result = Fuser(graph, with_constants).run(attempts);
  if (report) *report = std::move(attempts);
  return result;
}

}  // namespace

nn::Graph fuse_conv_bn_relu(const nn::Graph& graph, FusionReport* report) {
  return fused(graph, /*with_constants=*/true, report);
}

nn::Graph fuse_for_training(const nn::Graph& graph, FusionReport* report) {
  return fused(graph, /*with_constants=*/false, report);
}

}  // namespace thimble::quant
