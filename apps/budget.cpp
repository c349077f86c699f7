#include "apps/budget.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "apps/calibration.h"
#include "apps/command.h"
#include "apps/numbers.h"
#include <thimble/core/progress_bar.h>
#include <thimble/core/text_table.h>
#include <thimble/nn/training/evaluate.h>
#include <thimble/quant/analysis/output_divergence.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {

namespace {

using quant::PrecisionChoice;

bool same_layers(const PrecisionChoice& a, const PrecisionChoice& b) {
  return std::ranges::equal(a.layers, b.layers, [](const auto& x, const auto& y) {
    return x.weight_bits == y.weight_bits && x.weight_observer == y.weight_observer;
  });
}

// Accuracies of the choices that were looked at, each measured once.
class Frontier {
 public:
  Frontier(quant::CalibratedGraph& calibrated, const data::Dataset& test) : calibrated_(calibrated), test_(test) {}

  double accuracy_of(const PrecisionChoice& choice) {
    const auto known =
        std::ranges::find_if(points_, [&](const FrontierPoint& p) { return same_layers(p.choice, choice); });
    if (known != points_.end()) return known->accuracy;
    nn::Graph graph = calibrated_.quantized(choice.mapping);
    points_.push_back({choice, accuracy(graph, test_)});
    return points_.back().accuracy;
  }

  // The smallest choice of at least this accuracy; null if none has it.
  const FrontierPoint* smallest_of(double least) const {
    const FrontierPoint* smallest = nullptr;
    for (const FrontierPoint& point : points_)
      if (point.accuracy >= least && (!smallest || point.choice.size_bytes < smallest->choice.size_bytes))
        smallest = &point;
    return smallest;
  }

  double best_accuracy() const { return std::ranges::max(points_, {}, &FrontierPoint::accuracy).accuracy; }

  std::vector<FrontierPoint> by_size() && {
    std::ranges::sort(points_, {}, [](const FrontierPoint& p) { return p.choice.size_bytes; });
    return std::move(points_);
  }

 private:
  quant::CalibratedGraph& calibrated_;
  const data::Dataset& test_;
  std::vector<FrontierPoint> points_;
};

// Looks at the best choices within budgets from the least to the most bytes.
void look_around(quant::MixedPrecision& search, Frontier& frontier) {
  constexpr int64_t kSteps = 6;
  const int64_t least = search.smallest_size(), most = search.largest_size();
  ProgressBar bar("comparing", kSteps + 1);
  for (int64_t i = 0; i <= kSteps; ++i) {
    const int64_t bytes = least + (most - least) * i / kSteps;
    bar.update(i, str(with_commas(bytes), " bytes"));
    frontier.accuracy_of(search.best_within(bytes));
  }
}

PrecisionChoice best_for_bytes(quant::MixedPrecision& search, int64_t bytes, Frontier& frontier) {
  const PrecisionChoice chosen = search.best_within(bytes);
  frontier.accuracy_of(chosen);
  look_around(search, frontier);
  return chosen;
}

// The search goes by divergence, which accuracy need not follow: what it has looked at may hold a better choice.
PrecisionChoice best_for_accuracy(quant::MixedPrecision& search, double wanted, Frontier& frontier) {
  const auto reaches = [&](const PrecisionChoice& choice, nn::Graph&) {
    return frontier.accuracy_of(choice) >= wanted;
  };
  if (frontier.accuracy_of(search.best_within(search.largest_size())) >= wanted)
    search.smallest_where(reaches);
  else
    look_around(search, frontier);
  const FrontierPoint* smallest = frontier.smallest_of(wanted);
  check<ValueError>(smallest != nullptr, "the accuracy ", wanted, " is out of reach: the best that was found is ",
                    frontier.best_accuracy());
  return smallest->choice;
}

int most_bits(const quant::CalibratedGraph& calibrated) {
  int most = 0;
  for (const quant::Product& product : calibrated.products()) most = std::max(most, product.config.weight.bits);
  return most;
}

std::vector<int> bits_up_to(int most) {
  std::vector<int> bits;
  for (int b = 2; b <= most; ++b) bits.push_back(b);
  return bits;
}

std::string bits_text(const PrecisionChoice& choice) {
  std::string text;
  for (const quant::LayerPrecision& layer : choice.layers)
    text += (text.empty() ? "" : " ") + std::to_string(layer.weight_bits);
  return text;
}

}  // namespace

void Budget::add_to(CLI::App& command) {
  CLI::Option* budget =
      command
          .add_option(
              "--budget", bytes,
              "static: the file has at most so many bytes, as 500000, 500KB or 1.5MB; each layer gets the weight bits "
              "that suit it, --weight-bits at most, and the better --weight-observer")
          ->type_name("SIZE")
          ->transform(byte_size());
  command
      .add_option("--target-accuracy", accuracy,
                  "static: the smallest file found that has at least this accuracy on the test images, as 0.985 or "
                  "98.5%")
      ->type_name("ACCURACY")
      ->transform(fraction())
      ->excludes(budget);
}

WithinBudget choose_within(const Budget& budget, const nn::Graph& fused, const BudgetSearch& how,
                           const Attributes& notes, const data::Dataset& train, const data::Dataset& test) {
  constexpr int64_t kImages = 2048;  // to measure divergence on: on fewer, small differences between choices are noise
  const auto batches = calibration_batches(train, how.calibration_images);
  quant::CalibratedGraph calibrated(fused, how.mapping, [&](nn::Graph& graph) { run_on(graph, batches); });
  std::optional<ProgressBar> bar;
  quant::MixedPrecision search(
      calibrated,
      quant::output_divergence(calibrated.reference(),
                               calibration_batches(train, std::max(kImages, how.calibration_images))),
      {.weight_bits = bits_up_to(most_bits(calibrated)),
       .weight_observers = how.weight_observers,
       .size = [&](const nn::Graph& graph) { return saved_size(graph, notes); },
       .on_progress =
           [&](int64_t done, int64_t total) {
             if (!bar) bar.emplace("measuring layers", total);
             bar->update(done, "");
           }});
  bar.reset();
  Frontier frontier(calibrated, test);
  const PrecisionChoice choice = budget.bytes ? best_for_bytes(search, *budget.bytes, frontier)
                                              : best_for_accuracy(search, *budget.accuracy, frontier);
  WithinBudget result{{choice, frontier.accuracy_of(choice)}, {}};
  result.frontier = std::move(frontier).by_size();
  return result;
}

bool WithinBudget::is_chosen(const FrontierPoint& point) const { return same_layers(point.choice, chosen.choice); }

void print_frontier(std::ostream& out, const WithinBudget& result) {
  detail::TextTable table({"size (bytes)", "accuracy (%)", "divergence", "bits of each layer's weights", ""});
  for (const FrontierPoint& point : result.frontier) {
    table.add({with_commas(point.choice.size_bytes), fixed(100 * point.accuracy, 2), fixed(point.choice.cost, 5),
               bits_text(point.choice), result.is_chosen(point) ? "chosen" : ""});
  }
  out << table.str();
}

nlohmann::json frontier_json(const WithinBudget& result) {
  nlohmann::json points = nlohmann::json::array();
  for (const FrontierPoint& point : result.frontier) {
    nlohmann::json layers = nlohmann::json::array();
    for (const quant::LayerPrecision& layer : point.choice.layers)
      layers.push_back(
          {{"name", layer.name}, {"weight_bits", layer.weight_bits}, {"weight_observer", layer.weight_observer}});
    points.push_back({{"size_bytes", point.choice.size_bytes},
                      {"accuracy", point.accuracy},
                      {"divergence", point.choice.cost},
                      {"chosen", result.is_chosen(point)},
                      {"layers", layers}});
  }
  return points;
}

}  // namespace thimble::apps
