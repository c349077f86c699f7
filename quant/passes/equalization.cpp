#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <thimble/quant/passes/equalization.h>
#include <thimble/quant/passes/layer_pairs.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

EqualizationReport report_of(const std::vector<LayerPair>& pairs) {
  EqualizationReport report;
  for (const LayerPair& pair : pairs)
    report.push_back(
        {pair.first->name, pair.second->name, std::vector<double>(static_cast<size_t>(pair.view.channels()), 1.0)});
  return report;
}

// One round of cross-layer equalization over all pairs, whose factors so far are in the report. Returns the largest
// |log(factor)|.
double equalize_weights(PairWeights& weights, const std::vector<LayerPair>& pairs, EqualizationReport& report) {
  double largest = 0;
  for (size_t i = 0; i < pairs.size(); ++i) {
    std::vector<double> factors = weights.ranges_of_first(pairs[i]);
    const std::vector<double> second = weights.ranges_of_second(pairs[i]);
    for (size_t c = 0; c < factors.size(); ++c)
      factors[c] = factors[c] == 0 || second[c] == 0 ? 1 : std::sqrt(factors[c] / second[c]);
    weights.scale(pairs[i], factors);
    for (size_t c = 0; c < factors.size(); ++c) {
      report[i].factors[c] *= factors[c];
      largest = std::max(largest, std::abs(std::log(factors[c])));
    }
  }
  return largest;
}

bool has_scale_for_each_channel(const Graph& graph, const Node* product, const QConfigMapping& mapping) {
  const std::optional<QConfig> config = mapping.find(product->name, types_of(graph, product));
  return config && config->weight.axis;
}

std::vector<LayerPair> depthwise_pairs(const Graph& graph, const QConfigMapping& mapping) {
  std::vector<LayerPair> pairs = layer_pairs(graph);
  std::erase_if(pairs, [&](const LayerPair& pair) {
    return !is_depthwise(graph, pair.second) || !has_scale_for_each_channel(graph, pair.first, mapping) ||
           !has_scale_for_each_channel(graph, pair.second, mapping);
  });
  return pairs;
}

// The range of each channel that the second layers read, over all batches.
std::vector<Range> ranges_between(const Graph& graph, const std::vector<LayerPair>& pairs,
                                  std::span<const Tensor> batches) {
  Graph watched = graph.clone();
  watched.eval();
  std::vector<nn::GraphOutput> between;
  for (const LayerPair& pair : pairs)
    between.push_back({pair.second->name, watched.find(pair.second->inputs[0]->name)});
  watched.set_outputs(between);
  watched.eliminate_dead_nodes();
  const QuantizationSpec by_channel{.axis = 1};
  const NoGrad guard;
  std::vector<Range> ranges;
  for (const Tensor& batch : batches) {
    const std::vector<Tensor> values = watched.forward_outputs({&batch, 1});
    for (size_t i = 0; i < values.size(); ++i) {
      const Range range = min_max(values[i].data(), by_channel, "equalization");
      if (ranges.size() == i) ranges.push_back(range);
      for (size_t c = 0; c < range.min.size(); ++c) {
        ranges[i].min[c] = std::min(ranges[i].min[c], range.min[c]);
        ranges[i].max[c] = std::max(ranges[i].max[c], range.max[c]);
      }
    }
  }
  return ranges;
}

// A channel that seems to be dead need not stay so: the batches may show little of it.
constexpr double kSmallestPart = 1.0 / 256;

// What brings each channel's range half way nearer to that of all channels.
std::vector<double> factors_for(const Range& range) {
  const double low = std::ranges::min(range.min), high = std::ranges::max(range.max);
  std::vector<double> factors;
  for (size_t c = 0; c < range.min.size(); ++c) {
    const double below = low < 0 ? range.min[c] / low : 0, above = high > 0 ? range.max[c] / high : 0;
    const double part = std::max(below, above);
    factors.push_back(part > 0 ? std::sqrt(std::max(part, kSmallestPart)) : 1);
  }
  return factors;
}

// A factor beyond this is no equalization's: weights would leave float32.
constexpr double kLargestFactor = 1 << 20;

void check_factors(const EqualizedPair& pair) {
  const auto is_sound = [](double f) { return f >= 1 / kLargestFactor && f <= kLargestFactor; };
  check<ValueError>(std::ranges::all_of(pair.factors, is_sound), "equalization: a factor between '", pair.first,
                    "' and '", pair.second, "' is not from 2^-20 to 2^20");
}

// What the report says, which tells afterwards what was really done.
Graph scaled(const Graph& fused, EqualizationReport& report) {
  Graph graph = fused.clone();
  if (report.empty()) return graph;
  std::map<std::pair<std::string, std::string>, LayerPair> by_names;
  for (const LayerPair& pair : layer_pairs(graph))
    by_names.emplace(std::pair(pair.first->name, pair.second->name), pair);
  std::vector<LayerPair> pairs;
  for (const EqualizedPair& equalized : report) {
    const auto pair = by_names.find({equalized.first, equalized.second});
    check<ValueError>(pair != by_names.end() && pair->second.view.channels() == std::ssize(equalized.factors),
                      "equalization: the graph has no pair of layers '", equalized.first, "' and '", equalized.second,
                      "' with ", equalized.factors.size(), " channels between them");
    check_factors(equalized);
    pairs.push_back(pair->second);
  }
  PairWeights weights(graph, pairs);
  for (size_t i = 0; i < pairs.size(); ++i) weights.scale(pairs[i], report[i].factors);
  weights.store();
  graph.verify();
  return graph;
}

}  // namespace

Graph cross_layer_equalization(const Graph& fused, EqualizationReport* report) {
  Graph graph = fused.clone();
  const std::vector<LayerPair> pairs = layer_pairs(graph);
  EqualizationReport found = report_of(pairs);
  PairWeights weights(graph, pairs);
  constexpr int kMostRounds = 100;
  constexpr double kSettled = 1e-3;
  for (int round = 0; round < kMostRounds && equalize_weights(weights, pairs, found) > kSettled; ++round) {
  }
  weights.store();
  graph.verify();
  if (report) *report = std::move(found);
  return graph;
}

Graph equalize(const Graph& fused, const EqualizationReport& report) {
  EqualizationReport made = report;
  return scaled(fused, made);
}

Graph depthwise_equalization(const Graph& fused, const QConfigMapping& mapping, std::span<const Tensor> batches,
                             EqualizationReport* report) {
  const std::vector<LayerPair> pairs = depthwise_pairs(fused, mapping);
  EqualizationReport found = report_of(pairs);
  if (!pairs.empty()) {
    const std::vector<Range> ranges = ranges_between(fused, pairs, batches);
    check<ValueError>(!ranges.empty(), "equalization: there is no data");
    for (size_t i = 0; i < pairs.size(); ++i) found[i].factors = factors_for(ranges[i]);
  }
  Graph graph = scaled(fused, found);
  if (report) *report = std::move(found);
  return graph;
}

}  // namespace thimble::quant
