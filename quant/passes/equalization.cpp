#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_map>
#include <utility>

#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/equalization.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/qat/qat_layers.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

// Weight and bias of a layer, in float64, so that rounds do not add up rounding errors.
struct Values {
  Tensor weight_tensor, bias_tensor;
  std::vector<double> weight, bias;
};

// A layer's weights as the layer before sees them: [out, input channels of a group, inner], of so many groups. A
// flattened image's channel has as many features as it has pixels.
struct InputView {
  int64_t out, channels_of_group, inner, groups;

  int64_t channels() const { return channels_of_group * groups; }

  // f(channel, its first weight) for each `inner` weights of one channel.
  template <typename F>
  void for_each(std::vector<double>& weight, F&& f) const {
    double* w = weight.data();
    for (int64_t o = 0; o < out; ++o) {
      const int64_t first = o / (out / groups) * channels_of_group;
      for (int64_t j = 0; j < channels_of_group; ++j, w += inner) f(static_cast<size_t>(first + j), w);
    }
  }
};

struct LayerPair {
  Node *first, *second;
  InputView view;                // of the second one's weights
  std::vector<double> factor{};  // of each channel, all rounds together
};

double largest_magnitude(const double* w, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(w[i]));
  return largest;
}

void scale(double* w, int64_t n, double factor) {
  for (int64_t i = 0; i < n; ++i) w[i] *= factor;
}

class Equalizer {
 public:
  explicit Equalizer(const Graph& graph) : graph_(graph.clone()) {}

  Graph run(EqualizationReport* report) {
    for (Node* node : graph_.nodes())
      if (is_float_product(node))
        if (std::optional<LayerPair> pair = pair_from(node)) pairs_.push_back(std::move(*pair));
    for (LayerPair& pair : pairs_) {
      load(pair.first);
      load(pair.second);
      pair.factor.assign(static_cast<size_t>(pair.view.channels()), 1);
    }
    constexpr int kMostRounds = 100;
    constexpr double kSettled = 1e-3;
    for (int round = 0; round < kMostRounds && equalize_all() > kSettled; ++round) {
    }
    for (auto& [node, values] : values_) store(values);
    graph_.verify();
    if (report) *report = report_of_pairs();
    return std::move(graph_);
  }

 private:
  bool is_float_product(const Node* node) const {
    return is_product(graph_, node) && !graph_.layer_as<QATLayer>(node) && graph_.calls_of_layer(node) == 1;
  }

  bool lets_factors_through(const Node* node, bool is_image) const {
    if (const auto* layer = node->kind == Node::Kind::layer ? &graph_.layer(node) : nullptr)
      return layer->type() == "Dropout" && !layer->training();
    constexpr std::string_view kPools[] = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"};
    return graph_.is_op(node, "relu") ||
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

  void load(const Node* node) {
    if (values_.contains(node)) return;
    const auto* conv = graph_.layer_as<nn::Conv2d>(node);
    const auto* linear = graph_.layer_as<nn::Linear>(node);
    Values values{conv ? conv->weight : linear->weight, conv ? conv->bias : linear->bias, {}, {}};
    values.weight = values.weight_tensor.data().to_vector<double>();
    if (values.bias_tensor.defined()) values.bias = values.bias_tensor.data().to_vector<double>();
    for (const auto* list : {&values.weight, &values.bias})
      check<ValueError>(std::ranges::all_of(*list, [](double v) { return std::isfinite(v); }),
                        "equalization: weights or bias of '", node->name, "' are not finite");
    values_.emplace(node, std::move(values));
  }

  static void store(Values& values) {
    const auto put = [](Tensor& tensor, const std::vector<double>& list) {
      tensor.set_data(NDArray::from_vector(list, tensor.shape()).to(tensor.dtype()));
    };
    put(values.weight_tensor, values.weight);
    if (values.bias_tensor.defined()) put(values.bias_tensor, values.bias);
  }

  // One round. Returns the largest |log(factor)|.
  double equalize_all() {
    double largest = 0;
    for (LayerPair& pair : pairs_) largest = std::max(largest, equalize(pair));
    return largest;
  }

  double equalize(LayerPair& pair) {
    Values &first = values_.at(pair.first), &second = values_.at(pair.second);
    const size_t channels = pair.factor.size();
    const auto row = static_cast<int64_t>(first.weight.size() / channels);
    std::vector<double> range(channels), factor(channels, 1);
    pair.view.for_each(second.weight, [&](size_t c, const double* w) {
      range[c] = std::max(range[c], largest_magnitude(w, pair.view.inner));
    });
    double largest = 0;
    for (size_t c = 0; c < channels; ++c) {
      double* weights = first.weight.data() + static_cast<int64_t>(c) * row;
      factor[c] = factor_for(largest_magnitude(weights, row), range[c], first.bias.empty() ? 0 : first.bias[c]);
      scale(weights, row, 1 / factor[c]);
      if (!first.bias.empty()) first.bias[c] /= factor[c];
      pair.factor[c] *= factor[c];
      largest = std::max(largest, std::abs(std::log(factor[c])));
    }
    pair.view.for_each(second.weight, [&](size_t c, double* w) { scale(w, pair.view.inner, factor[c]); });
    return largest;
  }

  // 1 where there is nothing to equalize, or where a bias would leave float32.
  static double factor_for(double first, double second, double bias) {
    if (first == 0 || second == 0) return 1;
    const double factor = std::sqrt(first / second);
    return std::isfinite(static_cast<float>(bias / factor)) ? factor : 1;
  }

  EqualizationReport report_of_pairs() const {
    EqualizationReport report;
    for (const LayerPair& pair : pairs_) {
      const auto [low, high] = std::ranges::minmax(pair.factor);
      report.push_back({pair.first->name, pair.second->name, pair.view.channels(), low, high});
    }
    return report;
  }

  Graph graph_;
  std::vector<LayerPair> pairs_;
  std::unordered_map<const Node*, Values> values_;
};

}  // namespace

nn::Graph cross_layer_equalization(const nn::Graph& fused, EqualizationReport* report) {
  return Equalizer(fused).run(report);
}

}  // namespace thimble::quant
