#include "apps/layer_sensitivity.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "apps/calibration.h"
#include <thimble/core/progress_bar.h>
#include <thimble/core/text.h>

namespace thimble::apps {

namespace {

quant::QConfigMapping mapping_of(const LayerSensitivityOptions& o) {
  quant::QConfig config;
  config.weight.bits = o.weight_bits;
  config.activation.bits = o.activation_bits;
  config.observer = o.observer;
  return quant::QConfigMapping().set_global(config);
}

nlohmann::json decibel(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(); }

}  // namespace

MeasuredSensitivity measure_sensitivity(LoadedModel& loaded, const Images& images, const LayerSensitivityOptions& o) {
  const auto train = images.open(data::Split::train), test = images.open(data::Split::test);
  const std::vector<ModelInput> inputs = ShapeOption().inputs_of(loaded);
  const std::vector<Tensor> batches = calibration_batches(*train, o.calibration_images);
  const auto latency_of = [&](nn::Graph& graph) { return measure_latency(graph, inputs, o.batch_size, o.runs); };
  quant::CalibratedGraph calibrated(loaded.graph, mapping_of(o), [&](nn::Graph& g) { run_on(g, batches); });
  nn::Graph reference = calibrated.reference().clone();
  MeasuredSensitivity measured;
  if (o.runs > 0) measured.baseline_latency = latency_of(reference);
  ProgressBar bar("measuring", static_cast<int64_t>(calibrated.products().size()));
  int64_t done = 0;
  bar.update(done, "all layers");
  measured.sensitivity = quant::measure_sensitivity(
      calibrated, [&](nn::Graph& graph) { return accuracy_on(graph, *test, o.images); }, batches,
      {.mode = o.one() ? quant::SensitivityMode::one : quant::SensitivityMode::all_but_one,
       .on_layer = [&](const quant::LayerSensitivity& layer, nn::Graph& graph) {
         if (o.runs > 0) measured.latencies.push_back(latency_of(graph));
         bar.update(++done, detail::printable(layer.name, 40));
       }});
  return measured;
}

nlohmann::json to_json(const MeasuredSensitivity& m, const LayerSensitivityOptions& o) {
  nlohmann::json layers = nlohmann::json::array();
  for (size_t i = 0; i < m.sensitivity.layers.size(); ++i) {
    const quant::LayerSensitivity& layer = m.sensitivity.layers[i];
    const bool timed = !m.latencies.empty();
    layers.push_back({{"name", layer.name},
                      {"type", layer.type},
                      {"accuracy", layer.accuracy},
                      {"accuracy_drop", layer.accuracy_drop},
                      {"output_sqnr_db", decibel(layer.output_sqnr_db)},
                      {"layer_sqnr_db", decibel(layer.layer_sqnr_db)},
                      {"latency_us", timed ? nlohmann::json(m.latencies[i].mean_us) : nlohmann::json()},
                      {"latency_std_us", timed ? std_json(m.latencies[i]) : nlohmann::json()}});
  }
  return {{"baseline", m.sensitivity.baseline},
          {"quantized", m.sensitivity.quantized},
          {"baseline_latency_us", m.baseline_latency ? nlohmann::json(m.baseline_latency->mean_us) : nlohmann::json()},
          {"mode", o.mode},
          {"batch_size", o.batch_size},
          {"layers", layers}};
}

}  // namespace thimble::apps
