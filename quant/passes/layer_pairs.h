// Pairs of layers between which each channel may be scaled, the network computing the same. Internal to quant.
#pragma once

#include <algorithm>
#include <unordered_map>
#include <vector>

#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// A layer's weights as the layer before sees them: [out, input channels of a group, inner], of so many groups. A
/// flattened image's channel has as many features as it has pixels.
struct InputView {
  int64_t out, channels_of_group, inner, groups;

  int64_t channels() const { return channels_of_group * groups; }

  /// f(channel, its first weight) for each `inner` weights of one channel.
  template <typename F>
  void for_each(std::vector<double>& weight, F&& f) const {
    double* w = weight.data();
    for (int64_t o = 0; o < out; ++o) {
      const int64_t first = o / (out / groups) * channels_of_group;
      for (int64_t j = 0; j < channels_of_group; ++j, w += inner) f(static_cast<size_t>(first + j), w);
    }
  }
};

/// Two layers, the second of which alone reads what the first gives: through nothing but what works on each channel by
/// itself and lets positive factors through, see equalization.h.
struct LayerPair {
  nn::Node *first, *second;
  InputView view;  ///< of the second one's weights
};

/// In the order of the graph.
std::vector<LayerPair> layer_pairs(const nn::Graph& graph);

/// Weights and biases of pairs in float64, so that many factors do not add up rounding errors.
class PairWeights {
 public:
  /// Throws ValueError for weights or biases that are not finite.
  PairWeights(const nn::Graph& graph, const std::vector<LayerPair>& pairs);

  /// The largest magnitude of each channel's weights, on either side of a pair.
  std::vector<double> ranges_of_first(const LayerPair& pair);
  std::vector<double> ranges_of_second(const LayerPair& pair);
  /// Divides the first one's channels and multiplies the second one's. A factor with which a bias would leave float32
  /// becomes 1.
  void scale(const LayerPair& pair, std::vector<double>& factors);
  /// Into the graph.
  void store();

 private:
  struct Values {
    Tensor weight_tensor, bias_tensor;
    std::vector<double> weight, bias;
  };

  void load(const nn::Graph& graph, const nn::Node* node);

  std::unordered_map<const nn::Node*, Values> values_;
};

}  // namespace thimble::quant
