// thimble quantize
#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>

#include <nlohmann/json.hpp>

#include "apps/augmentation.h"
#include "apps/command.h"
#include "apps/images.h"
#include "apps/layer_times.h"
#include "apps/model_inputs.h"
#include "apps/numbers.h"
#include "apps/quantize_methods.h"
#include "apps/training_history.h"
#include "apps/training_run.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>

namespace thimble::apps {

namespace {

struct QuantizeArguments {
  Common common;
  std::string model, out;
  DataOptions data;
  QuantizeOptions quantize;
};

// The part of one sample's time that each node of the quantized graph takes; empty if the file leaves
// sizes free, or the graph runs node by node.
std::map<std::string, double> shares_of_time(const LoadedModel& model, const nn::Graph& quantized) {
  std::vector<LayerTime> times;
  try {
    times = layer_times(quantized, ShapeOption().inputs_of(model), 1);
  } catch (const Error&) {  // nothing that the model would be worse for
    return {};
  }
  double all = 0;
  for (const LayerTime& time : times) all += time.us;
  std::map<std::string, double> shares;
  for (const LayerTime& time : times) shares[time.name] += time.us / all;
  return shares;
}

void print_layers(std::ostream& out, const quant::ConversionReport& report,
                  const std::map<std::string, double>& shares) {
  detail::TextTable table({"layer", "type", "weights", "activations", "note"});
  double in_floats = 0;
  for (const quant::LayerReport& layer : report) {
    const auto share = shares.find(layer.name);
    std::string note = layer.kept_float ? str("float: ", layer.reason) : layer.reason;
    if (layer.kept_float && share != shares.end()) {
      in_floats += share->second;
      note += str(", ", fixed(100 * share->second, 1), " % of the time");
    }
    table.add({layer.name, layer.type, std::to_string(layer.weight_bits) + " bits",
               std::to_string(layer.activation_bits) + " bits", note});
  }
  out << table.str();
  if (!shares.empty()) out << "of one sample's time, " << fixed(100 * in_floats, 1) << " % goes to layers kept float\n";
}

// An improvement that the method cannot have is a mistake. What most methods have (bits, observers, epochs, ...) is
// ignored by the others, so that scripts can go through the methods with one command line.
void check_method(const CLI::App& command, const std::string& method) {
  const std::pair<const char*, std::string> method_of[] = {{"--weight-scheme", "weight-only"},
                                                           {"--dynamic-range", "dynamic"},
                                                           {"--equalize", "static"},
                                                           {"--no-equalize", "static"},
                                                           {"--adaround", "static"},
                                                           {"--bias-correction", "static"},
                                                           {"--no-bias-correction", "static"},
                                                           {"--calibration", "static"},
                                                           {"--budget", "static"},
                                                           {"--target-accuracy", "static"},
                                                           {"--lsq", "qat"},
                                                           {"--augment", "qat"},
                                                           {"--save-state", "qat"},
                                                           {"--resume", "qat"}};
  for (const auto& [option, only] : method_of)
    if (command.count(option) > 0 && method != only)
      throw CLI::ValidationError(option, str("is for --method ", only, ", not ", method));
}

void check_granularity(const CLI::App& command, const QuantizeOptions& q) {
  if (q.method == "weight-only" && q.granularity == "tensor")
    throw CLI::ValidationError("--granularity", "tensor not in {channel,group}, which --method weight-only has");
  if (command.count("--group-size") > 0 && q.granularity != "group")
    throw CLI::ValidationError("--group-size", str("is for --granularity group, not ", q.granularity));
}

// The search for bits compares accuracies, for which there must be a dataset.
void check_calibration(const CLI::App& command, QuantizeOptions& q) {
  if (q.calibration.empty()) return;
  for (const char* option : {"--budget", "--target-accuracy"})
    if (command.count(option) > 0)
      throw CLI::ValidationError("--calibration", str("cannot go with ", option, ", which needs the dataset's images"));
  if (command.count("--calibration-images") == 0) q.calibration_images = std::numeric_limits<int64_t>::max();
}

nlohmann::json json_of(const quant::ConversionReport& report) {
  nlohmann::json layers = nlohmann::json::array();
  for (const quant::LayerReport& layer : report)
    layers.push_back({{"name", layer.name},
                      {"type", layer.type},
                      {"weight_bits", layer.weight_bits},
                      {"activation_bits", layer.activation_bits},
                      {"kept_float", layer.kept_float},
                      {"reason", layer.reason}});
  return layers;
}

Attributes notes_for(const LoadedModel& loaded, const QuantizedModel& quantized, const QuantizeOptions& o) {
  Attributes notes = quantized_notes(loaded, o.method, o.equalize.value_or(false));
  if (quantized.corrected) notes.set_all("", notes_of(quantized.corrected->equalized));
  notes.set_all("", history_notes(kQatHistory, quantized.epochs));
  return notes;
}

void print_corrections(std::ostream& out, const quant::Corrected& c) {
  if (!c.equalized.empty())
    out << "values in front of " << c.equalized.size() << " depthwise layers equalized (--no-equalize: not)\n";
  if (c.bias_trial)
    out << "biases " << (c.biases_corrected ? "" : "not ") << "corrected: signal to noise of answers in a trial "
        << fixed(c.bias_trial->sqnr_without, 1) << " dB without, " << fixed(c.bias_trial->sqnr_with, 1)
        << " dB with it (--bias-correction, --no-bias-correction: without a trial)\n";
}

nlohmann::json json_of(const quant::Corrected& c) {
  nlohmann::json json{{"equalized_pairs", c.equalized.size()}, {"biases_corrected", c.biases_corrected}};
  if (c.bias_trial)
    json["bias_trial"] = {{"sqnr_db_without", c.bias_trial->sqnr_without}, {"sqnr_db_with", c.bias_trial->sqnr_with}};
  return json;
}

void run(const QuantizeArguments& o) {
  std::vector<std::string> inputs{o.model};
  if (!o.quantize.calibration.empty()) inputs.push_back(o.quantize.calibration);
  o.common.apply(inputs, o.out, o.quantize.states.save);
  const LoadedModel loaded = load(o.model);
  check_is_float(loaded);
  const QuantizedModel quantized = quantized_model(loaded, Images(loaded, o.data), o.quantize, o.common.out());
  save_trained(quantized.graph, o.out, notes_for(loaded, quantized, o.quantize), quantized.advice);

  const auto float_size = std::filesystem::file_size(o.model), size = std::filesystem::file_size(o.out);
  if (quantized.within) print_frontier(o.common.out(), *quantized.within);
  if (quantized.accuracy) o.common.out() << "accuracy " << fixed(100 * *quantized.accuracy, 2) << " %\n";
  if (quantized.corrected) print_corrections(o.common.out(), *quantized.corrected);
  print_layers(o.common.out(), quantized.report, shares_of_time(loaded, quantized.graph));
  o.common.out() << "saved " << detail::printable(o.out) << ": " << with_commas(static_cast<int64_t>(size))
                 << " bytes, " << fixed(static_cast<double>(size) / static_cast<double>(float_size), 3) << " of "
                 << detail::printable(o.model) << '\n';
  nlohmann::json result{
      {"method", o.quantize.method}, {"layers", json_of(quantized.report)}, {"out", o.out}, {"size_bytes", size}};
  if (quantized.within) result["frontier"] = frontier_json(*quantized.within);
  if (quantized.accuracy) result["accuracy"] = *quantized.accuracy;
  if (quantized.corrected) result["corrections"] = json_of(*quantized.corrected);
  if (quantized.agreement) result["agreement"] = *quantized.agreement;
  o.common.write_json(result);
}

void add_method_options(CLI::App& command, QuantizeOptions& q) {
  command
      .add_option("--method", q.method,
                  "dynamic: integer weights, activations' ranges taken at each call; static: fixed by calibration; "
                  "weight-only: float activations; qat: trained with fake quantization")
      ->capture_default_str()
      ->check(CLI::IsMember({"dynamic", "static", "weight-only", "qat"}));
  command.add_option("--weight-bits", q.weight_bits, "Bits of the weights, which the file holds packed")
      ->capture_default_str()
      ->check(CLI::Range(2, 8));
  command.add_option("--activation-bits", q.activation_bits, "dynamic, static, qat: bits of the activations")
      ->capture_default_str()
      ->check(CLI::Range(2, 8));
  command
      .add_option("--dynamic-range", q.dynamic_range,
                  "dynamic: what a range is taken of at each call: each row (image), or the whole call [row]")
      ->check(CLI::IsMember({"row", "call"}));
  command
      .add_option("--granularity", q.granularity,
                  "What part of a layer's weights has a scale of its own; tensor is not for weight-only")
      ->capture_default_str()
      ->check(CLI::IsMember({"tensor", "channel", "group"}));
  command
      .add_option("--group-size", q.group_size,
                  "With --granularity group: consecutive inputs of a group, of which a linear layer's last may have "
                  "fewer; convolutions have a scale for each channel instead")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  command.add_option("--weight-scheme", q.weight_scheme, "weight-only: symmetric [default], or affine for zero points")
      ->check(CLI::IsMember({"symmetric", "affine"}));
  command
      .add_option("--observer", q.observer,
                  "static, qat: how activations' ranges are chosen; mse: those of weights, too, see --weight-observer")
      ->capture_default_str()
      ->check(CLI::IsMember(quant::observer_names()));
  command
      .add_option("--percentile", q.percentile, "static, qat: percent of the values that --observer percentile keeps")
      ->capture_default_str()
      ->check(number_from(50, 100));
  command
      .add_option(
          "--weight-observer", q.weight_observer,
          "dynamic, static, weight-only: how weights' ranges are chosen; mse, which few bits want, by default if "
          "--observer is, else minmax")
      ->check(CLI::IsMember({"minmax", "mse"}));
}

// A flag and its contrary; neither leaves the choice to the program.
void add_choice(CLI::App& command, const std::string& flags, std::optional<bool>& choice, const std::string& help) {
  command.add_flag_function(
      flags, [&choice](int64_t given) { choice = given > 0; }, help);
}

void add_static_options(CLI::App& command, QuantizeOptions& q) {
  command.add_option("--calibration-images", q.calibration_images, "static: training images to calibrate on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000000));
  command
      .add_option("--calibration", q.calibration,
                  "static: calibrate on this array instead, whose first dimension counts the samples; .npz: on the one "
                  "that is named as the input. --calibration-images: on the first so many [all]")
      ->type_name("FILE.npy|FILE.npz");
  add_choice(command, "--equalize,!--no-equalize", q.equalize,
             "static: even the ranges of weights across layers first (CLE); --no-equalize: not even those of "
             "values in front of depthwise layers");
  CLI::Option* adaround = command.add_flag("--adaround", q.adaround, "static: learn which way each weight is rounded");
  command.add_option("--adaround-iterations", q.adaround_iterations, "static: steps of --adaround for each layer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000))
      ->needs(adaround);
  add_choice(command, "--bias-correction,!--no-bias-correction", q.bias_correction,
             "static: let biases take back what rounding shifts layers' means by; by default this is tried, on "
             "models with depthwise layers, and kept if answers are better");
  q.budget.add_to(command);
}

void add_training_options(CLI::App& command, QuantizeOptions& q) {
  command.add_option("--epochs", q.epochs, "qat: passes over the training images")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command.add_option("--batch-size", q.batch_size, "qat: images a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command.add_option("--lr", q.lr, "qat: learning rate, which falls to 0 along half a cosine")
      ->capture_default_str()
      ->check(number_from(0, 1e6));
  command.add_flag("--lsq", q.lsq, "qat: scales are learned (LSQ), instead of following the ranges seen");
  command.add_option("--seed", q.seed, "qat: of the order of training images; static: of --adaround")
      ->capture_default_str()
      ->check(uint64_number());
  Augmentation::add_to(command, q.augment, "qat: ");
  q.states.add_to(command);
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto o = std::make_shared<QuantizeArguments>();
  CLI::App* command = app.add_subcommand("quantize", "Fuse and quantize a model");
  command->footer(
      "Examples:\n"
      "  thimble quantize mlp.safetensors --method static --out mlp.int8.safetensors\n"
      "  thimble quantize mlp.safetensors --method qat --weight-bits 4 --epochs 2 --out mlp.int4.safetensors\n"
      "  thimble quantize mlp.safetensors --budget 500KB --out small.safetensors\n"
      "  thimble quantize net.safetensors --calibration samples.npy --out net.int8.safetensors");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Float checkpoint")->required()->type_name("MODEL");
  add_method_options(*command, o->quantize);
  add_static_options(*command, o->quantize);
  o->quantize.layers.add_to(*command);
  add_training_options(*command, o->quantize);
  o->data.add_to(*command);
  command->add_option("--out", o->out, "Checkpoint to write")->required()->type_name("FILE");
  command->callback([o, command] {
    check_method(*command, o->quantize.method);
    check_granularity(*command, o->quantize);
    check_calibration(*command, o->quantize);
    o->quantize.layers.check();
    run(*o);
  });
}

}  // namespace thimble::apps
