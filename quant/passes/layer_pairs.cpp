#include <cmath>
#include <optional>
#include <string_view>

#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/layer_pairs.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/qat/qat_layers.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

class PairSearch {
 public:
  explicit PairSearch(const Graph& graph) : graph_(graph) {}

  std::vector<LayerPair> all() const {
    std::vector<LayerPair> pairs;
    for (Node* node : graph_.nodes())
      if (is_float_product(node))
        if (const std::optional<LayerPair> pair = pair_from(node)) pairs.push_back(*pair);
    return pairs;
  }

 private:
  bool is_float_product(const Node* node) const {
    return is_product(graph_, node) && !graph_.layer_as<QATLayer>(node) && graph_.calls_of_layer(node) == 1;
  }

  bool lets_factors_through(const Node* node, bool is_image) const {
    if (const auto* layer = node->kind == Node::Kind::layer ? &graph_.layer(node) : nullptr)
      return layer->type() == "Dropout" && !layer->training();
    constexpr std::string_view kPools[] = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"};
    return graph_.is_op(node, "relu") || graph_.is_op(node, "leaky_relu") ||
           (is_image && std::ranges::any_of(kPools, [&](std::string_view op) { return graph_.is_op(node, op); }));
  }

  // Of an image, into rows of features.
  bool is_flatten(const Node* node) const {
    if (!graph_.is_op(node, "flatten") || node->attributes.get<int64_t>("start_dim") != 1) return false;
    const auto end = node->attributes.get<int64_t>("end_dim");
    return end == -1 || end == 3;
  }

  // The pair whose first layer this is, if it has a second one.
  std::optional<LayerPair> pair_from(Node* first) const {
    const bool is_conv = graph_.layer_as<nn::Conv2d>(first) != nullptr;
    bool is_image = is_conv;
    for (const Node* value = first;;) {
      const std::vector<Node*> users = graph_.users(value);
      if (graph_.is_output(value) || users.size() != 1 || users[0]->inputs.size() != 1) return std::nullopt;
      Node* user = users[0];
      if (is_float_product(user)) {
        const std::optional<InputView> view = view_of(user, out_channels(first), is_conv, is_image);
        return view ? std::optional<LayerPair>({first, user, *view}) : std::nullopt;
      }
      if (is_image && is_flatten(user))
        is_image = false;
      else if (!lets_factors_through(user, is_image))
        return std::nullopt;
      value = user;
    }
  }

  int64_t out_channels(const Node* node) const {
    const auto* conv = graph_.layer_as<nn::Conv2d>(node);
    return conv ? conv->out_channels() : graph_.layer_as<nn::Linear>(node)->out_features();
  }

  // None if the layer's inputs are not the channels of the layer before: a linear layer on an image works on columns.
  std::optional<InputView> view_of(const Node* node, int64_t channels, bool from_conv, bool is_image) const {
    if (const auto* conv = graph_.layer_as<nn::Conv2d>(node)) {
      if (!is_image || conv->in_channels() != channels) return std::nullopt;
      return InputView{conv->out_channels(), conv->weight.shape(1), conv->kernel().height * conv->kernel().width,
                       conv->options().groups};
    }
    const auto* linear = graph_.layer_as<nn::Linear>(node);
    const int64_t features = linear->in_features();
    if (is_image || features % channels != 0 || (!from_conv && features != channels)) return std::nullopt;
    return InputView{linear->out_features(), channels, features / channels, 1};
  }

  const Graph& graph_;
};

double largest_magnitude(const double* w, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(w[i]));
  return largest;
}

void multiply(double* w, int64_t n, double factor) {
  for (int64_t i = 0; i < n; ++i) w[i] *= factor;
}

}  // namespace

std::vector<LayerPair> layer_pairs(const Graph& graph) { return PairSearch(graph).all(); }

PairWeights::PairWeights(const Graph& graph, const std::vector<LayerPair>& pairs) {
  for (const LayerPair& pair : pairs) {
    load(graph, pair.first);
    load(graph, pair.second);
  }
}

void PairWeights::load(const Graph& graph, const Node* node) {
  if (values_.contains(node)) return;
  Values values{weight_of(graph, node), bias_of(graph, node), {}, {}};
  values.weight = values.weight_tensor.data().to_vector<double>();
  if (values.bias_tensor.defined()) values.bias = values.bias_tensor.data().to_vector<double>();
  for (const auto* list : {&values.weight, &values.bias})
    check<ValueError>(std::ranges::all_of(*list, [](double v) { return std::isfinite(v); }),
                      "equalization: weights or bias of '", node->name, "' are not finite");
  values_.emplace(node, std::move(values));
}

std::vector<double> PairWeights::ranges_of_first(const LayerPair& pair) {
  const Values& first = values_.at(pair.first);
  std::vector<double> ranges(static_cast<size_t>(pair.view.channels()));
  const size_t row = first.weight.size() / ranges.size();
  for (size_t c = 0; c < ranges.size(); ++c)
    ranges[c] = largest_magnitude(first.weight.data() + c * row, static_cast<int64_t>(row));
  return ranges;
}

std::vector<double> PairWeights::ranges_of_second(const LayerPair& pair) {
  std::vector<double> ranges(static_cast<size_t>(pair.view.channels()));
  pair.view.for_each(values_.at(pair.second).weight, [&](size_t c, const double* w) {
    ranges[c] = std::max(ranges[c], largest_magnitude(w, pair.view.inner));
  });
  return ranges;
}

void PairWeights::scale(const LayerPair& pair, std::vector<double>& factors) {
  Values& first = values_.at(pair.first);
  const auto row = static_cast<int64_t>(first.weight.size() / factors.size());
  for (size_t c = 0; c < factors.size(); ++c) {
    if (!first.bias.empty() && !std::isfinite(static_cast<float>(first.bias[c] / factors[c]))) factors[c] = 1;
    multiply(first.weight.data() + static_cast<int64_t>(c) * row, row, 1 / factors[c]);
    if (!first.bias.empty()) first.bias[c] /= factors[c];
  }
  pair.view.for_each(values_.at(pair.second).weight,
                     [&](size_t c, double* w) { multiply(w, pair.view.inner, factors[c]); });
}

void PairWeights::store() {
  const auto put = [](Tensor& tensor, const std::vector<double>& list) {
    tensor.set_data(NDArray::from_vector(list, tensor.shape()).to(tensor.dtype()));
  };
  for (auto& [node, values] : values_) {
    put(values.weight_tensor, values.weight);
    if (values.bias_tensor.defined()) put(values.bias_tensor, values.bias);
  }
}

}  // namespace thimble::quant
