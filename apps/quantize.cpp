// thimble quantize
#include <filesystem>

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/notes.h"
#include "apps/numbers.h"
#include "apps/progress_bar.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/quant/quantize.h>

namespace thimble::apps {

namespace {

struct Options {
  Common common;
  std::string model, method = "static", observer = "minmax", data, out;
  int64_t calibration_images = 512;
  int weight_bits = 8, activation_bits = 8;
};

quant::QConfigMapping mapping_for(const Options& o) {
  quant::QConfig config;
  config.weight.bits = o.weight_bits;
  config.activation.bits = o.activation_bits;
  config.observer = o.observer;
  return quant::QConfigMapping().set_global(config);
}

void print_layers(std::ostream& out, const quant::ConversionReport& report) {
  detail::TextTable table({"layer", "type", "weights", "activations", "note"});
  for (const quant::LayerReport& layer : report)
    table.add({layer.name, layer.type, std::to_string(layer.weight_bits) + " bits",
               std::to_string(layer.activation_bits) + " bits", layer.kept_float ? str("float: ", layer.reason) : ""});
  out << table.str();
}

void run(const Options& o) {
  o.common.apply({o.model}, o.out);
  const quant::QConfigMapping mapping = mapping_for(o);
  LoadedModel loaded = load(o.model);
  check(loaded.notes.method == "baseline", detail::quote_path(o.model), " is quantized already; give the float model");
  const auto train = open_images(loaded.notes, loaded.notes.dataset, o.data, data::Split::train);
  auto calibrate = [&](nn::Graph& prepared) {
    data::DataLoader loader(*train, {.batch_size = 64, .shuffle = true, .limit = o.calibration_images});
    ProgressBar bar("calibrating", loader.size());
    int64_t batches = 0;
    for (auto& [images, labels] : loader) {
      prepared(images);
      bar.update(++batches, "");
    }
  };
  quant::ConversionReport report;
  const nn::Graph quantized = quant::quantize_model(loaded.graph, calibrate, mapping, &report);
  loaded.notes.method = o.method;
  const auto float_size = std::filesystem::file_size(o.model);
  save_model(quantized, o.out, loaded.notes.to_attributes());

  const auto size = std::filesystem::file_size(o.out);
  print_layers(o.common.out(), report);
  o.common.out() << "saved " << detail::printable(o.out) << ": " << with_commas(static_cast<int64_t>(size))
                 << " bytes, " << fixed(static_cast<double>(size) / static_cast<double>(float_size), 3) << " of "
                 << detail::printable(o.model) << '\n';
  nlohmann::json layers = nlohmann::json::array();
  for (const quant::LayerReport& layer : report)
    layers.push_back({{"name", layer.name},
                      {"type", layer.type},
                      {"weight_bits", layer.weight_bits},
                      {"activation_bits", layer.activation_bits},
                      {"kept_float", layer.kept_float},
                      {"reason", layer.reason}});
  o.common.write_json({{"method", o.method}, {"layers", layers}, {"out", o.out}, {"size_bytes", size}});
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("quantize", "Fuse and quantize a model, calibrating on training images");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Float checkpoint")->required()->type_name("MODEL");
  command->add_option("--method", o->method, "static: integer weights and activations, scales fixed by calibration")
      ->capture_default_str()
      ->check(CLI::IsMember({"static"}));
  command
      ->add_option("--weight-bits", o->weight_bits,
                   "Bits of the weights; fewer do not make the file smaller, each weight takes a byte")
      ->capture_default_str()
      ->check(CLI::Range(2, 8));
  command->add_option("--activation-bits", o->activation_bits, "Bits of the activations")
      ->capture_default_str()
      ->check(CLI::Range(2, 8));
  command->add_option("--observer", o->observer, "How activations' ranges are chosen")
      ->capture_default_str()
      ->check(CLI::IsMember({"minmax"}));
  command->add_option("--calibration-images", o->calibration_images, "Training images to calibrate on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000000));
  command->add_option("--data", o->data, "Folder of the dataset's files");
  command->add_option("--out", o->out, "Checkpoint to write")->required()->type_name("FILE");
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
