#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <thimble/quant/analysis/error_report.h>
#include <thimble/quant/passes/bias_correction.h>
#include <thimble/quant/passes/corrections.h>
#include <thimble/quant/passes/layer_by_layer.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

constexpr int64_t kMostSamples = 32;  // to correct biases on, and as many to compare on
constexpr double kWorthIt = 0.5;      // decibels

bool has_depthwise_layers(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [&](const Node* node) { return is_depthwise(graph, node); });
}

// So many samples, from the first one on, in batches.
std::vector<Tensor> samples(std::span<const Tensor> batches, int64_t first, int64_t count) {
  std::vector<Tensor> taken;
  for (const Tensor& batch : batches) {
    const int64_t begin = std::clamp<int64_t>(first, 0, batch.shape(0));
    const int64_t end = std::clamp<int64_t>(first + count, 0, batch.shape(0));
    if (begin < end) taken.emplace_back(batch.data().slice(0, begin, end));
    first -= batch.shape(0);
  }
  return taken;
}

std::vector<std::vector<Tensor>> answers(const Graph& graph, std::span<const Tensor> batches) {
  Graph evaluated = graph.clone();
  evaluated.eval();
  const NoGrad guard;
  std::vector<std::vector<Tensor>> all;
  for (const Tensor& batch : batches) all.push_back(evaluated.forward_outputs({&batch, 1}));
  return all;
}

// How near graphs' answers are to those of a float graph.
class Judge {
 public:
  Judge(const Graph& reference, std::vector<Tensor> batches)
      : batches_(std::move(batches)), expected_(answers(reference, batches_)) {}

  // Infinite if no output has noise.
  double sqnr(const Graph& prepared) const {
    const auto got = answers(convert(prepared), batches_);
    double decibels = 0;
    int64_t outputs = 0;
    for (size_t output = 0; output < got[0].size(); ++output) {
      const double of_output = sqnr(got, output);
      if (!std::isfinite(of_output)) continue;
      decibels += of_output;
      ++outputs;
    }
    return outputs > 0 ? decibels / static_cast<double>(outputs) : std::numeric_limits<double>::infinity();
  }

 private:
  double sqnr(const std::vector<std::vector<Tensor>>& got, size_t output) const {
    double signal = 0, noise = 0;
    for (size_t b = 0; b < got.size(); ++b) {
      const auto y = expected_[b][output].data().to_vector<double>(), z = got[b][output].data().to_vector<double>();
      for (size_t i = 0; i < y.size(); ++i) {
        signal += y[i] * y[i];
        noise += (y[i] - z[i]) * (y[i] - z[i]);
      }
    }
    return sqnr_db(signal, noise);
  }

  std::vector<Tensor> batches_;
  std::vector<std::vector<Tensor>> expected_;  // by batch and output
};

// Without correction of biases.
Corrected calibrated(const Graph& fused, const QConfigMapping& mapping, std::span<const Tensor> batches,
                     const CorrectionOptions& options, std::string_view stage) {
  Corrected result;
  result.fused =
      options.equalization ? depthwise_equalization(fused, mapping, batches, &result.equalized) : fused.clone();
  result.prepared = prepare(result.fused, mapping);
  const NoGrad guard;
  for (size_t b = 0; b < batches.size(); ++b) {
    result.prepared(batches[b]);
    if (options.progress) options.progress(stage, static_cast<int64_t>(b + 1), std::ssize(batches));
  }
  return result;
}

void correct_biases(Corrected& result, std::span<const Tensor> batches, const CorrectionOptions& options,
                    std::string_view stage) {
  const auto progress = [&](int64_t done, int64_t total) {
    if (options.progress) options.progress(stage, done, total);
  };
  result.prepared = bias_correction(result.prepared, result.fused, batches, progress);
  result.biases_corrected = true;
}

// How many samples a trial learns from, and is judged on.
int64_t half_of(std::span<const Tensor> batches) {
  int64_t count = 0;
  for (const Tensor& batch : batches) count += batch.shape(0);
  return std::min(count / 2, kMostSamples);
}

// None if there is nothing to try, or what bias_correction() cannot work on.
std::optional<BiasTrial> tried(const Graph& fused, const QConfigMapping& mapping, std::span<const Tensor> batches,
                               const CorrectionOptions& options) {
  const int64_t half = half_of(batches);
  if (half == 0 || !has_depthwise_layers(fused)) return std::nullopt;
  constexpr std::string_view kStage = "trying to correct biases";
  try {
    check_batches(fused, samples(batches, 0, 2 * half), "bias correction");
    const std::vector<Tensor> learn = samples(batches, 0, half);
    const Judge judge(fused, samples(batches, half, half));
    Corrected trial = calibrated(fused, mapping, learn, options, kStage);
    const double without = judge.sqnr(trial.prepared);
    correct_biases(trial, learn, options, kStage);
    return BiasTrial{without, judge.sqnr(trial.prepared)};
  } catch (const Error&) {  // batches of other sizes or dtypes, or sizes that are fixed in the graph
    return std::nullopt;
  }
}

}  // namespace

Corrected calibrate_with_corrections(const Graph& fused, const QConfigMapping& mapping, std::span<const Tensor> batches,
                                     const CorrectionOptions& options) {
  std::optional<BiasTrial> trial;
  if (!options.bias_correction) trial = tried(fused, mapping, batches, options);
  Corrected result = calibrated(fused, mapping, batches, options, "calibrating");
  result.bias_trial = trial;
  constexpr std::string_view kStage = "correcting biases";
  if (options.bias_correction.value_or(false)) correct_biases(result, batches, options, kStage);
  if (trial && std::isfinite(trial->sqnr_without) && trial->sqnr_with >= trial->sqnr_without + kWorthIt)
    correct_biases(result, samples(batches, 0, 2 * half_of(batches)), options, kStage);
  return result;
}

}  // namespace thimble::quant
