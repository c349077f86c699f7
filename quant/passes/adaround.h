// AdaRound: whether each weight is rounded up or down is learned, layer by layer, on calibration data.
//
//   nn::Graph prepared = quant::prepare(quant::as_convolutions(graph), mapping);
//   for (const Tensor& batch : batches) prepared(batch);
//   nn::Graph int4 = quant::convert(quant::adaround(prepared, batches));
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// Defaults are the paper's but for two, which go together: it makes 10,000 steps of Adam with its usual rate of 1e-3;
/// ten times fewer and larger ones end close to there, in seconds a layer.
struct THIMBLE_API AdaRoundOptions {
  int64_t iterations = 1000;  ///< for each layer
  int64_t batch_size = 32;
  double lr = 1e-2;
  double regularization = 0.01;          ///< lambda, the weight of the term that makes roundings definite
  double warm_up = 0.2;                  ///< the part of the iterations that are without it
  double beta_start = 20, beta_end = 2;  ///< its exponent, which falls linearly
  uint64_t seed = 1;                     ///< of the samples' order
  /// Called with the number of iterations done and of all, of all layers.
  std::function<void(int64_t done, int64_t total)> progress = {};
};

/// What was reached for a layer: mean squared error of the output (after a fused relu) over samples and pixels, summed
/// over output channels, on all the data, reading what the integer layers before it give.
struct THIMBLE_API RoundedLayer {
  std::string name;
  double nearest_error = 0;  ///< with each weight rounded to nearest
  double error = 0;          ///< as learned; the layer keeps the better one of both
};
using AdaRoundReport = std::vector<RoundedLayer>;

/// Nagel et al., "Up or down? Adaptive rounding for post-training quantization", 2020. For one product after another
/// that convert() will make an integer one, learns weights W~ = s * clamp(floor(W / s) + h, qmin, qmax), h in [0, 1],
/// that minimize |f(W x) - f(W~ x^)|^2 + lambda * sum(1 - |2 h - 1|^beta), where f is the fused relu if there is one, x
/// what the float network gives and x^ what the integer layers before give. Scales are those that the node's weight
/// observer chooses ("mse" suits few bits). Layers that stay float stay as they are.
///
/// `prepared` has seen calibration data. `batches` are all in memory, as are one layer's inputs and outputs; 512 images
/// do, 1024 were the paper's. Same options, data and thread count give the same bits.
///
/// Returns a prepared graph for convert(), with weights on their grid and scales pinned, so that the integers are
/// exactly those that were learned (convert() changes a scale only where a bias would leave int32); the input graph
/// stays as it is. Throws ValueError if there is no data or it is not finite, for options out of range, for layers of
/// quantization-aware training, and if an observer has seen nothing. `report`, if given, is overwritten.
THIMBLE_API nn::Graph adaround(const nn::Graph& prepared, std::span<const Tensor> batches,
                               const AdaRoundOptions& options = {}, AdaRoundReport* report = nullptr);

}  // namespace thimble::quant
