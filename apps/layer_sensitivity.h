// What each layer's quantization costs, measured on a dataset: what `thimble sensitivity` prints and `report` draws.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "apps/images.h"
#include "apps/latency.h"
#include <thimble/quant/analysis/sensitivity.h>

namespace thimble::apps {

struct LayerSensitivityOptions {
  std::string mode = "one", observer = "minmax";
  int64_t calibration_images = 512, images = -1, batch_size = 64;
  int weight_bits = 8, activation_bits = 8;
  int runs = 3;  ///< timed ones for each latency; 0: latencies are not measured

  bool one() const { return mode == "one"; }
};

struct MeasuredSensitivity {
  quant::Sensitivity sensitivity;
  std::optional<Latency> baseline_latency;
  std::vector<Latency> latencies;  ///< of each layer's graph; empty if they are not measured
};

/// Of a float model, with a progress bar. `images` are of the same model. Throws what opening the dataset and
/// quantizing throw.
MeasuredSensitivity measure_sensitivity(LoadedModel& loaded, const Images& images, const LayerSensitivityOptions& o);

/// {baseline, quantized, baseline_latency_us, mode, batch_size, layers: [{name, type, accuracy, accuracy_drop,
/// output_sqnr_db, layer_sqnr_db, latency_us, latency_std_us}]}
nlohmann::json to_json(const MeasuredSensitivity& measured, const LayerSensitivityOptions& o);

}  // namespace thimble::apps
