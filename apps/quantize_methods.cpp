#include "apps/quantize_methods.h"

#include <algorithm>

#include "apps/augmentation.h"
#include "apps/calibration.h"
#include "apps/datasets.h"
#include "apps/input_arrays.h"
#include "apps/numbers.h"
#include "apps/training_run.h"
#include <thimble/core/ops/reduce.h>
#include <thimble/core/progress_bar.h>
#include <thimble/core/text.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/training/evaluate.h>
#include <thimble/nn/training/optim/schedule.h>
#include <thimble/quant/passes/as_convolutions.h>
#include <thimble/quant/passes/bias_correction.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/equalization.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/serialization/checksums.h>

namespace thimble::apps {

namespace {

quant::QuantizationSpec weight_spec(const QuantizeOptions& o) {
  quant::QuantizationSpec spec = quant::QuantizationSpec::per_channel_weight(o.weight_bits);
  if (o.granularity == "tensor") spec.axis = std::nullopt;
  if (o.granularity == "group") spec.group_size = o.group_size;
  if (o.weight_scheme == "affine") spec.scheme = quant::QScheme::affine;
  return spec;
}

quant::QConfigMapping mapping_for(const QuantizeOptions& o) {
  quant::QConfig config;
  config.weight = weight_spec(o);
  config.activation.bits = o.activation_bits;
  config.observer = o.observer;
  config.percentile = o.percentile;
  config.weight_observer = !o.weight_observer.empty() ? o.weight_observer : o.observer == "mse" ? "mse" : "minmax";
  config.dynamic_range = quant::dynamic_range_from_name(o.dynamic_range);
  return o.layers.mapping(config);
}

// The ranges of activations settle on the first images; the last part is trained as the integers will compute.
class FreezeInTheEnd : public Callback {
 public:
  FreezeInTheEnd(nn::Graph& prepared, int64_t steps)
      : prepared_(prepared),
        first_(std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(steps) * (1 - kFrozenPart)))) {}

  void on_start(TrainingRun& run) override {
    if (run.steps() > first_) freeze();
  }
  void before_step(TrainingRun& run) override {
    if (run.steps() == first_) freeze();
  }

 private:
  static constexpr double kFrozenPart = 0.25;

  void freeze() {
    quant::freeze_bn_stats(prepared_);
    quant::disable_observer(prepared_);
  }

  nn::Graph& prepared_;
  int64_t first_;  // not 0: observers have seen nothing before the first step
};

// What the result depends on, see StateKeeper.
Attributes settings_of(const LoadedModel& loaded, const QuantizeOptions& o, const data::Dataset& train,
                       const data::Dataset& test) {
  if (!o.states.in_use()) return {};
  Attributes settings = o.layers.settings();
  uint32_t checksum = 0;
  for (const auto& [name, tensor] : loaded.graph.state()) checksum = detail::crc32_of(tensor.data(), checksum);
  settings.set_all("", {{kSubcommand, "quantize"},
                        {"--method", o.method},
                        {"model", str("checksum ", checksum)},
                        {"training data", fingerprint(train)},
                        {"test data", fingerprint(test)},
                        {"--weight-bits", int64_t{o.weight_bits}},
                        {"--activation-bits", int64_t{o.activation_bits}},
                        {"--granularity", o.granularity},
                        {"--group-size", o.group_size},
                        {"--observer", o.observer},
                        {"--percentile", o.percentile},
                        {"--weight-observer", o.weight_observer},
                        {"--epochs", o.epochs},
                        {"--batch-size", o.batch_size},
                        {"--lr", o.lr},
                        {"--lsq", o.lsq},
                        {"--seed", std::to_string(o.seed)}});
  if (!o.augment.empty()) settings.set("--augment", o.augment);
  return settings;
}

// The share of images of which two models say the same.
double agreement_of(nn::Graph& a, nn::Graph& b, const data::Dataset& images) {
  const NoGrad guard;
  data::DataLoader loader(images, {.batch_size = 250});
  int64_t same = 0;
  for (auto& [batch, labels] : loader) same += count_correct(a(batch).data(), argmax(b(batch).data(), 1));
  return static_cast<double>(same) / static_cast<double>(images.size());
}

// How many classes a mixture of two may be of: as many as the model tells apart.
int64_t classes_of(const LoadedModel& loaded, const data::Dataset& examples) {
  const NoGrad guard;
  return loaded.graph.clone().eval()(examples.example()).shape(-1);
}

QuantizedModel train_quantized(const LoadedModel& loaded, const std::shared_ptr<const data::Dataset>& shown,
                               const data::Dataset& test, const QuantizeOptions& o, std::ostream& out) {
  const Augmentation augmentation(o.augment);
  const data::Dataset& train = *shown;
  // Learned scales, too, stay as they are in the last part.
  check<ValueError>(std::ranges::any_of(loaded.graph.parameters(), &Tensor::requires_grad),
                    detail::quote_path(loaded.path),
                    " has frozen parameters alone, which --method qat leaves as they are; take --method static");
  nn::Graph prepared = quant::prepare_qat(loaded.graph, mapping_for(o), {.learned_step_size = o.lsq});
  optim::Adam optimizer(prepared.parameters(), {.lr = o.lr});
  data::DataLoader loader(
      augmentation.of(shown),
      {.batch_size = o.batch_size,
       .shuffle = true,
       .seed = o.seed,
       .limit = images_an_epoch(loaded.graph, train.size(), o.batch_size, out),
       .workers = augmentation.workers(),
       .transform = augmentation.empty() ? nullptr : augmentation.of_batches(classes_of(loaded, train))});
  const int64_t steps = o.epochs * loader.size();
  EpochBar bar([](const EpochSoFar& epoch) { return figures_of(epoch, "images"); });
  FreezeInTheEnd freeze(prepared, steps);
  EpochLine line(out, [](const EpochRecord& record) {
    return str("train loss ", fixed(record["train_loss"], 4), ", test accuracy ",
               fixed(100 * record["test_accuracy"], 2), " % (fake-quantized), ", fixed(record["seconds"], 1), " s");
  });
  StateKeeper states(o.states, settings_of(loaded, o, train, test), prepared, optimizer, out);
  FitOptions options{.epochs = o.epochs,
                     .evaluate = {{"test", &test}},
                     .schedule = optim::cosine(steps),
                     .callbacks = {&bar, &freeze, &states, &line},
                     .start = states.resume(o.epochs, loader.size())};
  options.start.lr = o.lr;
  QuantizedModel quantized;
  quantized.epochs = fit(prepared, optimizer, loader, classification_in_batches(), options);
  prepared.eval();
  quantized.advice = states.advice();
  quantized.graph = quant::convert(prepared, &quantized.report);
  quantized.agreement = agreement_of(quantized.graph, prepared, test);
  out << "the integer model gives the same answers as the fake-quantized one for "
      << fixed(100 * *quantized.agreement, 2) << " % of the test images\n";
  return quantized;
}

// A bar for work that says how long it is when it begins, and one for each of its stages.
std::function<void(std::string_view, int64_t, int64_t)> stages() {
  return [stage = std::string(), bar = std::shared_ptr<ProgressBar>()](std::string_view now, int64_t done,
                                                                       int64_t total) mutable {
    if (!bar || stage != now) bar = std::make_shared<ProgressBar>(stage = now, total);
    bar->update(done, "");
  };
}

std::function<void(int64_t, int64_t)> progress(const std::string& title) {
  return [title, bar = stages()](int64_t done, int64_t total) { bar(title, done, total); };
}

// The bits that suit the budget. A choice of how weights' ranges are chosen belongs to it, unless the user has made it.
WithinBudget within_budget(const LoadedModel& loaded, const nn::Graph& fused, const data::Dataset& train,
                           const data::Dataset& test, const QuantizeOptions& o) {
  BudgetSearch search{mapping_for(o), {"minmax", "mse"}, o.calibration_images};
  if (!o.weight_observer.empty()) search.weight_observers = {o.weight_observer};
  return choose_within(o.budget, fused, search, quantized_notes(loaded, o.method, o.equalize.value_or(false)), train,
                       test);
}

// Of the model as it will be saved: other passes may have changed what the search has measured.
double accuracy_within(nn::Graph& graph, const data::Dataset& test, const QuantizeOptions& o) {
  const double found = accuracy(graph, test);
  check<ValueError>(!o.budget.accuracy || found >= *o.budget.accuracy, "with the other passes the accuracy is ", found,
                    ", less than the ", o.budget.accuracy.value_or(0), " wanted; leave out --adaround and ",
                    "--bias-correction, or want less");
  return found;
}

// Arrays of the user's own need neither notes nor a dataset.
std::shared_ptr<const data::Dataset> calibration_images(const LoadedModel& loaded, const Images& sets,
                                                        const QuantizeOptions& o) {
  if (!o.calibration.empty()) return nullptr;
  check<FormatError>(loaded.notes.has_value(), detail::quote_path(loaded.path),
                     " names no images to calibrate on: give --calibration FILE.npy (", loaded.no_notes, ")");
  return sets.open(data::Split::train);
}

// With a search for bits or roundings, which takes long, biases are corrected if the user says so.
QuantizedModel quantize_with_search(const LoadedModel& loaded, nn::Graph fused, const data::Dataset* train,
                                    const Images& sets, const std::vector<Tensor>& images, const QuantizeOptions& o) {
  QuantizedModel quantized;
  quant::EqualizationReport equalized;
  if (o.equalize.value_or(true)) fused = quant::depthwise_equalization(fused, mapping_for(o), images, &equalized);
  const auto test = o.budget.given() ? sets.open(data::Split::test) : nullptr;
  if (test) quantized.within = within_budget(loaded, fused, *train, *test, o);
  quant::Corrected result =
      quant::calibrate_with_corrections(fused, test ? quantized.within->chosen.choice.mapping : mapping_for(o), images,
                                        {.equalization = false, .bias_correction = false, .progress = stages()});
  result.equalized = std::move(equalized);
  if (o.adaround)
    result.prepared = quant::adaround(
        result.prepared, images,
        {.iterations = o.adaround_iterations, .seed = o.seed, .progress = progress("learning roundings")});
  result.biases_corrected = o.bias_correction.value_or(false);
  if (result.biases_corrected)
    result.prepared = quant::bias_correction(result.prepared, fused, images, progress("correcting biases"));
  quantized.graph = quant::convert(result.prepared, &quantized.report);
  if (test) quantized.accuracy = accuracy_within(quantized.graph, *test, o);
  quantized.corrected = std::move(result);
  return quantized;
}

QuantizedModel quantize_static(const LoadedModel& loaded, const Images& sets, const QuantizeOptions& o) {
  const auto train = calibration_images(loaded, sets, o);
  const std::vector<Tensor> images = train ? calibration_batches(*train, o.calibration_images)
                                           : sample_batches(loaded, o.calibration, o.calibration_images);
  nn::Graph fused = quant::as_convolutions(loaded.graph);
  if (o.equalize.value_or(false)) fused = quant::cross_layer_equalization(fused);
  if (o.adaround || o.budget.given())
    return quantize_with_search(loaded, std::move(fused), train.get(), sets, images, o);
  QuantizedModel quantized;
  quantized.corrected = quant::calibrate_with_corrections(
      fused, mapping_for(o), images,
      {.equalization = o.equalize.value_or(true), .bias_correction = o.bias_correction, .progress = stages()});
  quantized.graph = quant::convert(quantized.corrected->prepared, &quantized.report);
  return quantized;
}

}  // namespace

QuantizedModel quantized_model(const LoadedModel& loaded, const Images& images, const QuantizeOptions& o,
                               std::ostream& out) {
  QuantizedModel quantized;
  if (o.method == "dynamic") {
    quantized.graph = quant::quantize_dynamic(loaded.graph, mapping_for(o), &quantized.report);
  } else if (o.method == "weight-only") {
    quantized.graph = quant::quantize_weight_only(loaded.graph, mapping_for(o), &quantized.report);
  } else if (o.method == "qat") {
    return train_quantized(loaded, images.open(data::Split::train), *images.open(data::Split::test), o, out);
  } else {
    return quantize_static(loaded, images, o);
  }
  return quantized;
}

}  // namespace thimble::apps
