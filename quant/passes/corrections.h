// Static quantization's calibration, with the corrections that networks with depthwise layers need.
//
//   quant::Corrected corrected = quant::calibrate_with_corrections(quant::as_convolutions(graph), mapping, batches);
//   nn::Graph int8 = quant::convert(corrected.prepared);
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/passes/equalization.h>
#include <thimble/quant/qconfig.h>

namespace thimble::quant {

/// Which corrections calibrate_with_corrections() makes.
struct THIMBLE_API CorrectionOptions {
  /// Whether values in front of depthwise layers are equalized, see depthwise_equalization().
  bool equalization = true;
  /// Whether biases are corrected, see bias_correction(). If that is not said, it is tried where the network has
  /// depthwise layers, bias_correction() can work on it and on the batches, and they can be divided in two.
  std::optional<bool> bias_correction = std::nullopt;
  /// If given, called with what is being done ("calibrating"), how much of it is done, and of how much.
  std::function<void(std::string_view stage, int64_t done, int64_t total)> progress = {};
};

/// Signal to noise of the answers, 10 log10(sum y^2 / sum (y - y')^2), without correction of biases and with it.
struct THIMBLE_API BiasTrial {
  double sqnr_without = 0, sqnr_with = 0;
};

/// A calibrated graph for convert(), and what was done to it.
struct THIMBLE_API Corrected {
  nn::Graph fused;     ///< the float graph, equalized
  nn::Graph prepared;  ///< of it
  EqualizationReport equalized = {};
  bool biases_corrected = false;
  std::optional<BiasTrial> bias_trial = {};  ///< if there was one
};

/// Makes the corrections, prepares `fused` and calibrates it on all batches. A trial of bias correction calibrates and
/// corrects on the first half of the samples, 32 at most, and compares answers to as many others with those of the
/// float graph (the mean decibels of those outputs that have noise); half a decibel is worth it. Biases are then
/// corrected on the samples of the trial; on all samples if the options say so. Throws what prepare(), convert() and
/// the corrections throw.
THIMBLE_API Corrected calibrate_with_corrections(const nn::Graph& fused, const QConfigMapping& mapping,
                                                 std::span<const Tensor> batches,
                                                 const CorrectionOptions& options = {});

}  // namespace thimble::quant
