// thimble quantize
#include <filesystem>

#include <nlohmann/json.hpp>

#include "apps/budget.h"
#include "apps/calibration.h"
#include "apps/command.h"
#include "apps/notes.h"
#include "apps/numbers.h"
#include "apps/progress_bar.h"
#include "apps/training_loop.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/evaluate.h>
#include <thimble/nn/optim/schedule.h>
#include <thimble/quant/adaround.h>
#include <thimble/quant/bias_correction.h>
#include <thimble/quant/equalization.h>
#include <thimble/quant/fuse.h>
#include <thimble/quant/qat.h>
#include <thimble/quant/quantize.h>

namespace thimble::apps {

namespace {

struct Options {
  Common common;
  std::string model, method = "static", observer = "minmax", weight_observer, data, out;
  int64_t calibration_images = 512, epochs = 1, batch_size = 64;
  int weight_bits = 8, activation_bits = 8;
  double lr = 1e-4;
  bool lsq = false, equalize = false, adaround = false, bias_correction = false;
  int64_t adaround_iterations = quant::AdaRoundOptions().iterations;
  uint64_t seed = 1;
  Budget budget;
};

quant::QConfigMapping mapping_for(const Options& o) {
  quant::QConfig config;
  config.weight.bits = o.weight_bits;
  config.activation.bits = o.activation_bits;
  config.observer = o.observer;
  config.weight_observer = !o.weight_observer.empty() ? o.weight_observer : o.observer == "mse" ? "mse" : "minmax";
  return quant::QConfigMapping().set_global(config);
}

void print_layers(std::ostream& out, const quant::ConversionReport& report) {
  detail::TextTable table({"layer", "type", "weights", "activations", "note"});
  for (const quant::LayerReport& layer : report)
    table.add({layer.name, layer.type, std::to_string(layer.weight_bits) + " bits",
               std::to_string(layer.activation_bits) + " bits", layer.kept_float ? str("float: ", layer.reason) : ""});
  out << table.str();
}

// The ranges of activations settle on the first images; the last part is trained as the integers will compute.
constexpr double kFrozenPart = 0.25;

nn::Graph train_quantized(const LoadedModel& loaded, const data::Dataset& train, const data::Dataset& test,
                          const quant::QConfigMapping& mapping, const Options& o, quant::ConversionReport& report) {
  nn::Graph prepared = quant::prepare_qat(loaded.graph, mapping, {.learned_step_size = o.lsq});
  optim::Adam optimizer(prepared.parameters(), {.lr = o.lr});
  data::DataLoader loader(train, {.batch_size = o.batch_size, .shuffle = true, .seed = o.seed});
  const int64_t steps = o.epochs * loader.size();
  const optim::Schedule schedule = optim::cosine(steps);
  const auto last_part = static_cast<int64_t>(static_cast<double>(steps) * (1 - kFrozenPart));
  for (int64_t epoch = 1; epoch <= o.epochs; ++epoch) {
    const std::string title = str("epoch ", epoch, "/", o.epochs);
    prepared.train();
    const EpochResult result = train_epoch(prepared, optimizer, loader, title, [&](int64_t step_of_epoch) {
      const int64_t step = (epoch - 1) * loader.size() + step_of_epoch;
      optimizer.set_lr(o.lr * schedule(step));
      if (step == last_part) {
        quant::freeze_bn_stats(prepared);
        quant::disable_observer(prepared);
      }
    });
    const Evaluation evaluation = evaluate(prepared, test);
    o.common.out() << title << ": train loss " << fixed(result.loss, 4) << ", test accuracy "
                   << fixed(100 * evaluation.accuracy, 2) << " % (fake-quantized), " << fixed(result.seconds, 1)
                   << " s\n"
                   << std::flush;
  }
  return quant::convert(prepared, &report);
}

// Runs the prepared graph on training images; returns them, batch by batch, if a pass needs them again.
std::vector<Tensor> calibrate(nn::Graph& prepared, const data::Dataset& train, const Options& o) {
  const NoGrad guard;
  data::DataLoader loader(train, {.batch_size = 64, .shuffle = true, .limit = o.calibration_images});
  ProgressBar bar("calibrating", loader.size());
  std::vector<Tensor> seen;
  int64_t batches = 0;
  for (auto& [images, labels] : loader) {
    prepared(images);
    if (o.adaround || o.bias_correction) seen.push_back(images);
    bar.update(++batches, "");
  }
  return seen;
}

// A bar for work that says how long it is when it begins.
std::function<void(int64_t, int64_t)> progress(const std::string& title) {
  return [title, bar = std::shared_ptr<ProgressBar>()](int64_t done, int64_t total) mutable {
    if (!bar) bar = std::make_shared<ProgressBar>(title, total);
    bar->update(done, "");
  };
}

nn::Graph quantize_static(const LoadedModel& loaded, const data::Dataset& train, const quant::QConfigMapping& mapping,
                          const Options& o, quant::ConversionReport& report) {
  nn::Graph fused = quant::fuse_conv_bn_relu(loaded.graph);
  if (o.equalize) fused = quant::cross_layer_equalization(fused);
  nn::Graph prepared = quant::prepare(fused, mapping);
  const std::vector<Tensor> images = calibrate(prepared, train, o);
  if (o.adaround)
    prepared = quant::adaround(
        prepared, images,
        {.iterations = o.adaround_iterations, .seed = o.seed, .progress = progress("learning roundings")});
  if (o.bias_correction) prepared = quant::bias_correction(prepared, fused, images, progress("correcting biases"));
  return quant::convert(prepared, &report);
}

// Options that the method has no use for are mistakes.
void check_method(const Options& o) {
  const std::pair<const char*, bool> of_static[] = {
      {"--equalize", o.equalize}, {"--adaround", o.adaround}, {"--bias-correction", o.bias_correction}};
  for (const auto& [option, given] : of_static) {
    if (given && o.method != "static")
      throw CLI::ValidationError(option, str("is for --method static, not ", o.method));
    if (given && o.budget.given()) throw CLI::ValidationError(option, "does not go with a budget or a target accuracy");
  }
  if (o.budget.given() && o.method != "static")
    throw CLI::ValidationError("--method", "a budget or a target accuracy needs --method static");
}

void run(const Options& o) {
  check_method(o);
  o.common.apply({o.model}, o.out);
  const quant::QConfigMapping mapping = mapping_for(o);
  LoadedModel loaded = load(o.model);
  check(loaded.notes.method == "baseline", detail::quote_path(o.model), " is quantized already; give the float model");
  const auto train = open_images(loaded.notes, loaded.notes.dataset, o.data, data::Split::train);
  quant::ConversionReport report;
  nn::Graph quantized;
  nlohmann::json frontier;
  if (o.budget.given()) {
    loaded.notes.method = o.method;  // which is in the file, whose size counts
    const auto test = open_images(loaded.notes, loaded.notes.dataset, o.data, data::Split::test);
    WithinBudget result =
        quantize_within(loaded, mapping, o.budget, calibration_batches(*train, o.calibration_images), *test);
    print_frontier(o.common.out(), result);
    frontier = frontier_json(result);
    quantized = std::move(result.graph);
    report = std::move(result.report);
  } else if (o.method == "qat") {
    const auto test = open_images(loaded.notes, loaded.notes.dataset, o.data, data::Split::test);
    quantized = train_quantized(loaded, *train, *test, mapping, o, report);
  } else {
    quantized = quantize_static(loaded, *train, mapping, o, report);
  }
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
  nlohmann::json result{{"method", o.method}, {"layers", layers}, {"out", o.out}, {"size_bytes", size}};
  if (o.budget.given()) result["frontier"] = frontier;
  o.common.write_json(result);
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("quantize", "Fuse and quantize a model, calibrating on training images");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Float checkpoint")->required()->type_name("MODEL");
  command->add_option("--method", o->method, "static: integer weights and activations, scales fixed by calibration")
      ->capture_default_str()
      ->check(CLI::IsMember({"static", "qat"}));
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
      ->check(CLI::IsMember(quant::observer_names()));
  command
      ->add_option("--weight-observer", o->weight_observer,
                   "How weights' ranges are chosen; mse by default if --observer is, else minmax")
      ->check(CLI::IsMember({"minmax", "mse"}));
  command->add_flag("--equalize", o->equalize, "static: even the ranges of weights across layers first (CLE)");
  CLI::Option* adaround =
      command->add_flag("--adaround", o->adaround, "static: learn which way each weight is rounded");
  command->add_option("--adaround-iterations", o->adaround_iterations, "Steps of --adaround for each layer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000))
      ->needs(adaround);
  command->add_flag("--bias-correction", o->bias_correction,
                    "static: let biases take back what rounded weights shift layers' means by");
  command->add_option("--calibration-images", o->calibration_images, "Training images to calibrate on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000000));
  command->add_option("--epochs", o->epochs, "qat: passes over the training images")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--batch-size", o->batch_size, "qat: images a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--lr", o->lr, "qat: learning rate")->capture_default_str()->check(number_from(0, 1e6));
  command->add_flag("--lsq", o->lsq, "qat: scales are learned (LSQ), instead of following the ranges seen");
  o->budget.add_to(*command);
  command->add_option("--data", o->data, "Folder of the dataset's files");
  command->add_option("--out", o->out, "Checkpoint to write")->required()->type_name("FILE");
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
