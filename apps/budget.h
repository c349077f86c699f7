// Mixed precision for `thimble quantize`: the best bits of each layer within so many bytes, or for so much accuracy.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>

#include <thimble/core/attributes.h>
#include <thimble/nn/data/dataset.h>
#include <thimble/quant/analysis/mixed_precision.h>

namespace thimble::apps {

struct Budget {
  std::optional<int64_t> bytes;    ///< of the file
  std::optional<double> accuracy;  ///< on the test images, 0 to 1

  void add_to(CLI::App& command);
  bool given() const { return bytes || accuracy; }
};

/// A choice of bits and its accuracy on the test images.
struct FrontierPoint {
  quant::PrecisionChoice choice;
  double accuracy = 0;
};

struct WithinBudget {
  FrontierPoint chosen;
  std::vector<FrontierPoint> frontier;  ///< what was looked at, smallest first; `chosen` is among it

  /// Whether these are the layers of `chosen`.
  bool is_chosen(const FrontierPoint& point) const;
};

/// What the search is to know besides the budget.
struct BudgetSearch {
  quant::QConfigMapping mapping;              ///< whose weight bits are the most that a layer gets
  std::vector<std::string> weight_observers;  ///< to choose from
  int64_t calibration_images = 512;
};

/// Chooses each layer's weight bits, and how their scales are chosen, as suits the budget. What bits cost is measured
/// on training images; test images are looked at to report the frontier's accuracies, and for a wanted accuracy to find
/// the smallest file that has it. `notes` are those that the file will have. Throws ValueError if no choice is small,
/// or accurate, enough.
WithinBudget choose_within(const Budget& budget, const nn::Graph& fused, const BudgetSearch& search,
                           const Attributes& notes, const data::Dataset& train, const data::Dataset& test);

/// One row a point of the frontier.
void print_frontier(std::ostream& out, const WithinBudget& result);
nlohmann::json frontier_json(const WithinBudget& result);

}  // namespace thimble::apps
