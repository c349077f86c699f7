// thimble sensitivity
#include <cmath>

#include <nlohmann/json.hpp>

#include "apps/calibration.h"
#include "apps/command.h"
#include "apps/images.h"
#include "apps/latency.h"
#include "apps/numbers.h"
#include <thimble/core/progress_bar.h>
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/quant/analysis/sensitivity.h>

namespace thimble::apps {

namespace {

using quant::LayerSensitivity;

struct SensitivityArguments {
  Common common;
  std::string model, mode = "one", observer = "minmax";
  DataOptions data;
  int64_t calibration_images = 512, images = -1, batch_size = 64;
  int weight_bits = 8, activation_bits = 8, runs = 3;

  bool one() const { return mode == "one"; }
};

quant::QConfigMapping mapping_for(const SensitivityArguments& o) {
  quant::QConfig config;
  config.weight.bits = o.weight_bits;
  config.activation.bits = o.activation_bits;
  config.observer = o.observer;
  return quant::QConfigMapping().set_global(config);
}

struct Measured {
  quant::Sensitivity sensitivity;
  Latency baseline_latency;
  std::vector<Latency> latencies;  // of each layer's graph
};

Measured measure(LoadedModel& loaded, const SensitivityArguments& o) {
  const Images sets(loaded, o.data);
  const auto train = sets.open(data::Split::train), test = sets.open(data::Split::test);
  const std::vector<ModelInput> inputs = ShapeOption().inputs_of(loaded);
  const std::vector<Tensor> batches = calibration_batches(*train, o.calibration_images);
  const auto latency_of = [&](nn::Graph& graph) { return measure_latency(graph, inputs, o.batch_size, o.runs); };
  quant::CalibratedGraph calibrated(loaded.graph, mapping_for(o), [&](nn::Graph& g) { run_on(g, batches); });
  nn::Graph reference = calibrated.reference().clone();
  Measured measured;
  measured.baseline_latency = latency_of(reference);
  ProgressBar bar("measuring", static_cast<int64_t>(calibrated.products().size()));
  bar.update(0, "all layers");
  measured.sensitivity = quant::measure_sensitivity(
      calibrated, [&](nn::Graph& graph) { return accuracy_on(graph, *test, o.images); }, batches,
      {.mode = o.one() ? quant::SensitivityMode::one : quant::SensitivityMode::all_but_one,
       .on_layer = [&](const LayerSensitivity& layer, nn::Graph& graph) {
         measured.latencies.push_back(latency_of(graph));
         bar.update(static_cast<int64_t>(measured.latencies.size()), detail::printable(layer.name, 40));
       }});
  return measured;
}

std::string percent(double fraction) { return fixed(100 * fraction, 2); }

void print(std::ostream& out, const Measured& m, const SensitivityArguments& o) {
  out << (o.one() ? "One layer is quantized" : "All layers but one are quantized") << ", latency at batch "
      << o.batch_size << ".\nFloat: accuracy " << percent(m.sensitivity.baseline) << " %, "
      << fixed(m.baseline_latency.mean_us, 1) << " us. All layers quantized: accuracy "
      << percent(m.sensitivity.quantized) << " %.\n";
  detail::TextTable table(
      {"layer", "type", "accuracy (%)", "drop (points)", "output SQNR (dB)", "layer SQNR (dB)", "latency (us)"});
  for (size_t i = 0; i < m.latencies.size(); ++i) {
    const LayerSensitivity& layer = m.sensitivity.layers[i];
    table.add({layer.name, layer.type, percent(layer.accuracy), percent(layer.accuracy_drop),
               fixed(layer.output_sqnr_db, 1), fixed(layer.layer_sqnr_db, 1),
               str(fixed(m.latencies[i].mean_us, 1), " ± ", std_text(m.latencies[i], 1))});
  }
  out << table.str();
}

nlohmann::json decibel(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(); }

nlohmann::json to_json(const Measured& m, const SensitivityArguments& o) {
  nlohmann::json layers = nlohmann::json::array();
  for (size_t i = 0; i < m.latencies.size(); ++i) {
    const LayerSensitivity& layer = m.sensitivity.layers[i];
    layers.push_back({{"name", layer.name},
                      {"type", layer.type},
                      {"accuracy", layer.accuracy},
                      {"accuracy_drop", layer.accuracy_drop},
                      {"output_sqnr_db", decibel(layer.output_sqnr_db)},
                      {"layer_sqnr_db", decibel(layer.layer_sqnr_db)},
                      {"latency_us", m.latencies[i].mean_us},
                      {"latency_std_us", std_json(m.latencies[i])}});
  }
  return {{"baseline", m.sensitivity.baseline},
          {"quantized", m.sensitivity.quantized},
          {"baseline_latency_us", m.baseline_latency.mean_us},
          {"mode", o.mode},
          {"batch_size", o.batch_size},
          {"layers", layers}};
}

void run(const SensitivityArguments& o) {
  o.common.apply({o.model});
  LoadedModel loaded = load(o.model);
  check_is_float(loaded);
  const Measured measured = measure(loaded, o);
  print(o.common.out(), measured, o);
  o.common.write_json(to_json(measured, o));
}

}  // namespace

void add_sensitivity(CLI::App& app) {
  auto o = std::make_shared<SensitivityArguments>();
  CLI::App* command =
      app.add_subcommand("sensitivity", "What each layer's quantization costs in accuracy and gains in time");
  command->footer(
      "Examples:\n"
      "  thimble sensitivity mlp.safetensors --weight-bits 4 --mode one");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Float checkpoint")->required()->type_name("MODEL");
  command->add_option("--mode", o->mode, "one: this layer alone is quantized; all-but-one: all others are")
      ->capture_default_str()
      ->check(CLI::IsMember({"one", "all-but-one"}));
  command->add_option("--weight-bits", o->weight_bits, "Bits of the weights")
      ->capture_default_str()
      ->check(CLI::Range(2, 8));
  command->add_option("--activation-bits", o->activation_bits, "Bits of the activations")
      ->capture_default_str()
      ->check(CLI::Range(2, 8));
  command->add_option("--observer", o->observer, "How activations' ranges are chosen")
      ->capture_default_str()
      ->check(CLI::IsMember(quant::observer_names()));
  command->add_option("--calibration-images", o->calibration_images, "Training images to calibrate and compare on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000000));
  command->add_option("--images", o->images, "Test images for the accuracy [all]")->check(CLI::Range(1, 1000000000));
  command->add_option("--batch-size", o->batch_size, "Images at a time when latency is measured")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--runs", o->runs, "Timed runs for each latency")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  o->data.add_to(*command);
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
