// thimble errors
#include <algorithm>
#include <cmath>
#include <sstream>

#include <nlohmann/json.hpp>

#include "apps/calibration.h"
#include "apps/command.h"
#include "apps/images.h"
#include "apps/input_arrays.h"
#include "apps/numbers.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/quant/analysis/error_report.h>
#include <thimble/quant/passes/as_convolutions.h>
#include <thimble/quant/passes/equalization.h>

namespace thimble::apps {

namespace {

using quant::TensorError;

struct ErrorsArguments {
  Common common;
  std::string model, quantized;
  std::string calibration;  // a file of arrays to compare on, instead of images
  DataOptions data;
  int64_t images = 512;
};

std::string small(double value) {
  std::ostringstream out;
  out.precision(3);
  out << value;
  return out.str();
}

void print(std::ostream& out, const std::vector<TensorError>& values, const std::vector<TensorError>& weights) {
  detail::TextTable table({"layer", "type", "mean error", "largest error", "SQNR (dB)", "weights' SQNR (dB)"});
  for (const TensorError& e : values) {
    const auto weight = std::ranges::find(weights, e.name, &TensorError::name);
    table.add({e.name, e.type, small(e.mean_error), small(e.largest_error), fixed(e.sqnr_db, 1),
               weight == weights.end() ? "" : fixed(weight->sqnr_db, 1)});
  }
  out << table.str();
}

nlohmann::json to_json(const std::vector<TensorError>& errors) {
  nlohmann::json rows = nlohmann::json::array();
  for (const TensorError& e : errors)
    rows.push_back({{"name", e.name},
                    {"type", e.type},
                    {"elements", e.elements},
                    {"mean_error", e.mean_error},
                    {"largest_error", e.largest_error},
                    {"sqnr_db", std::isfinite(e.sqnr_db) ? nlohmann::json(e.sqnr_db) : nlohmann::json()}});
  return rows;
}

// Layers of one name may belong to models that have nothing to do with each other.
void check_same_model(const ErrorsArguments& o, const Notes& a, const Notes& b) {
  const char* differs = a.model != b.model               ? "model"
                        : a.dataset != b.dataset         ? "dataset"
                        : a.input_shape != b.input_shape ? "shape of inputs"
                        : a.preparation != b.preparation ? "preparation of inputs"
                                                         : nullptr;
  check(differs == nullptr, detail::quote_path(o.model), " and ", detail::quote_path(o.quantized), " differ in their ",
        differs ? differs : "", "; give a model and its quantized form");
}

// Images of the dataset both models' notes name, or the user's arrays.
std::vector<Tensor> batches_for(const LoadedModel& loaded, const LoadedModel& other, const ErrorsArguments& o) {
  if (!o.calibration.empty()) return sample_batches(loaded, o.calibration, o.images);
  check<FormatError>(loaded.notes.has_value(), detail::quote_path(loaded.path),
                     " names no images to compare on: give --calibration FILE.npy (", loaded.no_notes, ")");
  check_same_model(o, loaded.need_notes(), other.need_notes());
  return calibration_batches(*Images(loaded, o.data).open(data::Split::train), o.images);
}

void run(const ErrorsArguments& o) {
  std::vector<std::string> inputs{o.model, o.quantized};
  if (!o.calibration.empty()) inputs.push_back(o.calibration);
  o.common.apply(inputs);
  const LoadedModel loaded = load(o.model), other = load(o.quantized);
  check(method_of(loaded) == "baseline", detail::quote_path(o.model), " is quantized; give the float model first");
  check(method_of(other) != "baseline", detail::quote_path(o.quantized),
        " is not quantized; give a quantized model second");
  const std::vector<Tensor> batches = batches_for(loaded, other, o);
  nn::Graph fused = quant::as_convolutions(loaded.graph);
  // Equalized graphs compute the same.
  if (other.attributes.get("equalized", false)) fused = quant::cross_layer_equalization(fused);
  fused = quant::equalize(fused, equalized_pairs_in(other.attributes));
  const auto values = quant::quantization_error(fused, other.graph, batches);
  check(!values.empty(), detail::quote_path(o.model), " and ", detail::quote_path(o.quantized),
        " have no layer in common; give a model and its quantized form");
  const auto weights = quant::weight_error(fused, other.graph);
  print(o.common.out(), values, weights);
  o.common.write_json({{"layers", to_json(values)}, {"weights", to_json(weights)}});
}

}  // namespace

void add_errors(CLI::App& app) {
  auto o = std::make_shared<ErrorsArguments>();
  CLI::App* command = app.add_subcommand(
      "errors",
      "How far a quantized model's values are from the float model's, layer by layer; of one made with "
      "--method qat, also what training changed");
  command->footer(
      "Examples:\n"
      "  thimble errors mlp.safetensors mlp.int8.safetensors\n"
      "  thimble errors net.onnx net.int8.safetensors --calibration samples.npy");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Float checkpoint")->required()->type_name("FLOAT");
  command->add_option("quantized", o->quantized, "What was made of it")->required()->type_name("QUANTIZED");
  command
      ->add_option(
          "--calibration", o->calibration,
          "Compare on this array instead of images, whose first dimension counts the samples; .npz: on the one "
          "that is named as the input")
      ->type_name("FILE.npy|FILE.npz");
  command->add_option("--images", o->images, "Training images, or samples of --calibration, to compare on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000000));
  o->data.add_to(*command);
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
