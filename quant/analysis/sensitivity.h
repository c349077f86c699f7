// How much each layer's quantization costs, measured: one layer quantized at a time, or all but one.
//
//   quant::CalibratedGraph calibrated(graph, mapping, calibrate);
//   const quant::Sensitivity s = quant::measure_sensitivity(calibrated, evaluate, batches);
//   for (const quant::LayerSensitivity& layer : s.layers)
//     std::cout << layer.name << ' ' << layer.accuracy_drop << '\n';
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/quant/analysis/calibrated_graph.h>

namespace thimble::quant {

enum class SensitivityMode {
  one,          ///< this layer is an integer one, all others are float: what it costs by itself
  all_but_one,  ///< this layer is float, the others are as the mapping says: what keeping it float would gain
};

/// A layer's row.
struct THIMBLE_API LayerSensitivity {
  std::string name, type;
  double accuracy = 0;
  double accuracy_drop = 0;  ///< from the float graph's accuracy
  /// Signal to quantization noise (see TensorError) of the graph's output and of this layer's.
  double output_sqnr_db = 0, layer_sqnr_db = 0;
};

/// What measure_sensitivity() has measured.
struct THIMBLE_API Sensitivity {
  double baseline = 0;   ///< accuracy of the float graph
  double quantized = 0;  ///< accuracy of the graph quantized as the mapping says
  std::vector<LayerSensitivity> layers;
};

/// Options of measure_sensitivity().
struct THIMBLE_API SensitivityOptions {
  SensitivityMode mode = SensitivityMode::one;
  /// Called with each row as it is ready, and the graph that it is about, to show progress or measure more.
  std::function<void(const LayerSensitivity&, nn::Graph&)> on_layer = {};
};

/// A row for each of the graph's products (linear, conv2d), in its order: they hold the weights and nearly all of the
/// arithmetic. Additions, concatenations and clamps have no row: they are integer ones where the values they read are,
/// and an integer layer reads theirs. `evaluate` tells a graph's accuracy (or any other measure of which more is
/// better); it is called once for each product and twice more. SQNR is measured on `batches`. Throws what converting
/// and evaluating throw, and ValueError without batches.
THIMBLE_API Sensitivity measure_sensitivity(CalibratedGraph& calibrated,
                                            const std::function<double(nn::Graph&)>& evaluate,
                                            std::span<const Tensor> batches, const SensitivityOptions& options = {});

}  // namespace thimble::quant
