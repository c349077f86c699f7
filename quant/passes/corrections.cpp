#include <algorithm>
#include <utility>
#include <vector>

#include <thimble/nn/layers/conv.h>
#include <thimble/quant/analysis/error_report.h>
#include <thimble/quant/passes/bias_correction.h>
#include <thimble/quant/passes/corrections.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

constexpr int64_t kMostSamples = 32;  // to correct biases on, and as many to compare on
constexpr double kWorthIt = 0.5;      // decibels

bool has_depthwise_layers(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [&](const Node* node) {
    const auto* conv = graph.layer_as<nn::Conv2d>(node);
    return conv && conv->options().groups > 1 && conv->options().groups == conv->in_channels();
  });
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

  double sqnr(const Graph& prepared) const {
    const auto got = answers(convert(prepared), batches_);
    double decibels = 0;
    const size_t outputs = got[0].size();
    for (size_t output = 0; output < outputs; ++output) {
      double signal = 0, noise = 0;
      for (size_t b = 0; b < got.size(); ++b) {
        const auto y = expected_[b][output].data().to_vector<double>(), z = got[b][output].data().to_vector<double>();
        for (size_t i = 0; i < y.size(); ++i) {
          signal += y[i] * y[i];
          noise += (y[i] - z[i]) * (y[i] - z[i]);
        }
      }
      decibels += sqnr_db(signal, noise);
    }
    return decibels / static_cast<double>(outputs);
  }

 private:
  std::vector<Tensor> batches_;
  std::vector<std::vector<Tensor>> expected_;  // by batch and output
};

// Prepares and calibrates; corrects biases if there is something to do it on.
Corrected corrected(const Graph& fused, const QConfigMapping& mapping, std::span<const Tensor> batches,
                    std::span<const Tensor> bias_batches, const CorrectionOptions& options) {
  Corrected result;
  result.fused = options.equalization ? depthwise_equalization(fused, batches, &result.equalized) : fused.clone();
  result.prepared = prepare(result.fused, mapping);
  const NoGrad guard;
  for (size_t b = 0; b < batches.size(); ++b) {
    result.prepared(batches[b]);
    if (options.progress) options.progress(static_cast<int64_t>(b + 1), std::ssize(batches));
  }
  result.biases_corrected = !bias_batches.empty();
  if (result.biases_corrected) result.prepared = bias_correction(result.prepared, result.fused, bias_batches);
  return result;
}

}  // namespace

Corrected calibrate_with_corrections(const Graph& fused, const QConfigMapping& mapping, std::span<const Tensor> batches,
                                     const CorrectionOptions& options) {
  if (options.bias_correction)
    return corrected(fused, mapping, batches, *options.bias_correction ? batches : std::span<const Tensor>(), options);
  int64_t count = 0;
  for (const Tensor& batch : batches) count += batch.shape(0);
  const int64_t half = std::min(count / 2, kMostSamples);
  if (half == 0 || !has_depthwise_layers(fused)) return corrected(fused, mapping, batches, {}, options);

  const std::vector<Tensor> learn = samples(batches, 0, half);
  const Judge judge(fused, samples(batches, half, half));
  const CorrectionOptions quietly{.equalization = options.equalization};
  const double before = judge.sqnr(corrected(fused, mapping, learn, {}, quietly).prepared);
  const double after = judge.sqnr(corrected(fused, mapping, learn, learn, quietly).prepared);
  const bool is_better = after >= before + kWorthIt;
  Corrected result = corrected(fused, mapping, batches,
                               is_better ? samples(batches, 0, 2 * kMostSamples) : std::vector<Tensor>(), options);
  result.bias_trial = BiasTrial{before, after};
  return result;
}

}  // namespace thimble::quant
