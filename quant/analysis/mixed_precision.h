// Mixed precision: few bits for the weights of layers that bear it, more for those that do not, within so many bytes.
//
//   quant::CalibratedGraph calibrated(graph, mapping, calibrate);
//   quant::MixedPrecision search(calibrated, quant::output_divergence(calibrated.reference(), batches));
//   const quant::PrecisionChoice best = search.best_within(250'000);
//   nn::Graph quantized = calibrated.quantized(best.mapping);
//
// What a layer's bits cost is measured with this layer at so many bits and all others at the most; then costs and sizes
// are added up, and the best sum found exactly (see knapsack.h). Of the choices that this finds best, and of uniform
// bits, the one that is best when measured as a whole is taken.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/quant/analysis/calibrated_graph.h>
#include <thimble/quant/analysis/knapsack.h>

namespace thimble::quant {

/// How a layer's weights are quantized.
struct THIMBLE_API LayerPrecision {
  std::string name;
  int weight_bits = 8;
  std::string weight_observer;  ///< QConfig::weight_observer
};

/// Bits for each layer, and what they make of the graph.
struct THIMBLE_API PrecisionChoice {
  QConfigMapping mapping;              ///< the base mapping, and each layer by name
  std::vector<LayerPrecision> layers;  ///< in the order of the graph
  int64_t size_bytes = 0;
  double cost = 0;            ///< measured
  double predicted_cost = 0;  ///< by adding up
};

/// What there is to choose from, and how sizes are counted.
struct THIMBLE_API MixedPrecisionOptions {
  /// Bits of weights to choose from, 2 to 8.
  std::vector<int> weight_bits = {2, 3, 4, 5, 6, 7, 8};
  /// Ways to choose weights' scales, which are free: at few bits, some layers want to be clipped, others not. Empty:
  /// each layer's own, as the mapping says.
  std::vector<std::string> weight_observers = {};
  /// Bytes of a quantized graph, to be compared with budgets: of its file, say. Empty: of its tensors. May differ from
  /// that only by something that depends little on the bits, as a file's header.
  std::function<int64_t(const nn::Graph&)> size = {};
  /// Called as the table of single layers grows.
  std::function<void(int64_t done, int64_t total)> on_progress = {};
};

/// Finds how many bits each layer's weights are to have.
class THIMBLE_API MixedPrecision {
 public:
  /// What becomes worse: output_divergence(), a loss, ... Less is better.
  using Cost = std::function<double(nn::Graph&)>;

  /// Measures every layer of calibrated.products() with every number of bits; activations stay as the mapping says.
  /// `calibrated` must outlive this. Throws ValueError if there is no such layer, for options out of range or a cost
  /// that is not finite; and what converting and `cost` throw.
  MixedPrecision(CalibratedGraph& calibrated, Cost cost, MixedPrecisionOptions options = {});

  /// The best choice of at most so many bytes. Throws ValueError that names the smallest possible size if that is more.
  PrecisionChoice best_within(int64_t budget);
  /// The smallest choice for which reaches(choice, its graph) is true, as far as what is true of a size is true of
  /// larger ones: found by bisection of budgets, to about 1 % of the size. Throws ValueError if it is not true of the
  /// best choice of any size.
  using Test = std::function<bool(const PrecisionChoice&, nn::Graph&)>;
  PrecisionChoice smallest_where(const Test& reaches);

  /// Bytes of the smallest choice, and of the one with the most bits everywhere.
  int64_t smallest_size() { return measured(front_.front().options).size_bytes; }
  int64_t largest_size() { return measured(Choice(table_.size(), 0)).size_bytes; }

 private:
  struct Candidate {
    int weight_bits;
    std::string weight_observer;  // empty: the layer's own
  };
  using Choice = std::vector<size_t>;  // an index of candidates_ for each product

  void measure_layers(const std::function<void(int64_t, int64_t)>& on_progress);
  int64_t products_bytes(const nn::Graph& graph) const;
  double cost_of(nn::Graph& graph) const;
  QConfig config_of(size_t product, size_t candidate) const;
  PrecisionChoice described(const Choice& choice) const;
  const PrecisionChoice& measured(const Choice& choice);
  std::vector<const PrecisionChoice*> fitting(int64_t budget);

  CalibratedGraph& calibrated_;
  Cost cost_;
  std::function<int64_t(const nn::Graph&)> size_;
  std::vector<Candidate> candidates_;
  std::vector<std::vector<KnapsackOption>> table_;  // for each product, of its candidates: bytes, additional cost
  double base_cost_ = 0;                            // with the most bits
  int64_t overhead_ = 0;                            // bytes beyond the products' tensors, at least
  std::vector<KnapsackChoice> front_;
  std::map<Choice, PrecisionChoice> measured_;
};

}  // namespace thimble::quant
