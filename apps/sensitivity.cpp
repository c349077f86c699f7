// thimble sensitivity
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/layer_sensitivity.h"
#include "apps/numbers.h"
#include <thimble/core/text_table.h>

namespace thimble::apps {

namespace {

struct SensitivityArguments {
  Common common;
  std::string model;
  DataOptions data;
  LayerSensitivityOptions measured;
};

std::string percent(double fraction) { return fixed(100 * fraction, 2); }

void print(std::ostream& out, const MeasuredSensitivity& m, const LayerSensitivityOptions& o) {
  out << (o.one() ? "One layer is quantized" : "All layers but one are quantized") << ", latency at batch "
      << o.batch_size << ".\nFloat: accuracy " << percent(m.sensitivity.baseline) << " %, "
      << fixed(m.baseline_latency->mean_us, 1) << " us. All layers quantized: accuracy "
      << percent(m.sensitivity.quantized) << " %.\n";
  detail::TextTable table(
      {"layer", "type", "accuracy (%)", "drop (points)", "output SQNR (dB)", "layer SQNR (dB)", "latency (us)"});
  for (size_t i = 0; i < m.latencies.size(); ++i) {
    const quant::LayerSensitivity& layer = m.sensitivity.layers[i];
    table.add({layer.name, layer.type, percent(layer.accuracy), percent(layer.accuracy_drop),
               fixed(layer.output_sqnr_db, 1), fixed(layer.layer_sqnr_db, 1),
               str(fixed(m.latencies[i].mean_us, 1), " ± ", std_text(m.latencies[i], 1))});
  }
  out << table.str();
}

void run(const SensitivityArguments& o) {
  o.common.apply({o.model});
  LoadedModel loaded = load(o.model);
  check_is_float(loaded);
  const MeasuredSensitivity measured = measure_sensitivity(loaded, Images(loaded, o.data), o.measured);
  print(o.common.out(), measured, o.measured);
  o.common.write_json(to_json(measured, o.measured));
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
  command->add_option("--mode", o->measured.mode, "one: this layer alone is quantized; all-but-one: all others are")
      ->capture_default_str()
      ->check(CLI::IsMember({"one", "all-but-one"}));
  command->add_option("--weight-bits", o->measured.weight_bits, "Bits of the weights")
      ->capture_default_str()
      ->check(CLI::Range(2, 8));
  command->add_option("--activation-bits", o->measured.activation_bits, "Bits of the activations")
      ->capture_default_str()
      ->check(CLI::Range(2, 8));
  command->add_option("--observer", o->measured.observer, "How activations' ranges are chosen")
      ->capture_default_str()
      ->check(CLI::IsMember(quant::observer_names()));
  command
      ->add_option("--calibration-images", o->measured.calibration_images,
                   "Training images to calibrate and compare on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000000));
  command->add_option("--images", o->measured.images, "Test images for the accuracy [all]")
      ->check(CLI::Range(1, 1000000000));
  command->add_option("--batch-size", o->measured.batch_size, "Images at a time when latency is measured")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--runs", o->measured.runs, "Timed runs for each latency")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  o->data.add_to(*command);
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
