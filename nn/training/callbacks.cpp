#include <algorithm>
#include <cmath>
#include <cstdint>

#include <thimble/core/text.h>
#include <thimble/core/text_numbers.h>
#include <thimble/nn/training/callbacks.h>

namespace thimble {

namespace {

std::string in_words(std::string name) {
  std::ranges::replace(name, '_', ' ');
  return name;
}

std::string all_means(const EpochSoFar& epoch) {
  std::string text;
  for (const Means::Mean& mean : epoch.means.all())
    text += str(in_words(mean.name), ' ', detail::fixed(mean.value(), 4), "  ");
  return text + detail::with_commas(static_cast<int64_t>(epoch.examples_per_second())) + " examples/s";
}

}  // namespace

void EpochLines::after_epoch(TrainingRun& run) {
  std::string line = run.title(run.progress.epoch()) + ':', separator = " ";
  for (const auto& [name, value] : run.progress.epochs.back().values()) {
    const bool is_time = name == "seconds" || name == "examples_per_second";
    if (!is_time) line += separator + in_words(name) + ' ' + detail::fixed(value, 4);
    separator = ", ";
  }
  out_ << line << ", " << detail::fixed(run.progress.epochs.back()["seconds"], 1) << " s\n" << std::flush;
}

EpochBar::EpochBar() : EpochBar(all_means) {}

EpochBar::EpochBar(std::function<std::string(const EpochSoFar&)> text) : text_(std::move(text)) {}

void EpochBar::on_start(TrainingRun&) { bar_.reset(); }

void EpochBar::before_step(TrainingRun& run) {
  if (!bar_) bar_ = std::make_unique<ProgressBar>(run.title(run.progress.epoch() + 1), run.steps_per_epoch);
}

void EpochBar::after_step(TrainingRun& run) {
  const EpochSoFar& epoch = run.progress.current;
  if (bar_->visible()) bar_->update(epoch.steps, text_(epoch));
  if (epoch.steps == run.steps_per_epoch) bar_.reset();
}

void EpochBar::on_end(TrainingRun&) { bar_.reset(); }

Best::Best(Monitor monitor) : monitor_(std::move(monitor)) {
  check<ValueError>(monitor_.min_delta >= 0 && std::isfinite(monitor_.min_delta), "min_delta is ", monitor_.min_delta);
}

bool Best::improves(const EpochRecord& epoch) {
  const double value = epoch[monitor_.name];
  const double gain = monitor_.higher_is_better ? value - value_ : value_ - value;
  if (std::isnan(value) || (any_ && !(gain > monitor_.min_delta))) return false;  // infinity is no better than itself
  any_ = true;
  value_ = value;
  return true;
}

Attributes Best::state() const {
  Attributes state{{"monitor", monitor_.name}};
  if (any_) state.set("best", value_);
  return state;
}

void Best::load_state(const Attributes& state) {
  const auto monitor = state.get("monitor", monitor_.name);
  check<FormatError>(monitor == monitor_.name, "training state: a callback watched ", detail::quote(monitor),
                     ", and this one watches ", detail::quote(monitor_.name));
  any_ = state.contains("best");
  if (any_) value_ = state.get<double>("best");
}

EarlyStopping::EarlyStopping(std::string monitor, const EarlyStoppingOptions& options)
    : best_({std::move(monitor), options.higher_is_better, options.min_delta}), patience_(options.patience) {
  check<ValueError>(patience_ >= 1, "EarlyStopping: patience is ", patience_);
}

void EarlyStopping::on_start(TrainingRun& run) {
  if (worse_epochs_ >= patience_) run.stop = true;  // as the run that goes on had stopped
}

void EarlyStopping::after_epoch(TrainingRun& run) {
  worse_epochs_ = best_.improves(run.progress.epochs.back()) ? 0 : worse_epochs_ + 1;
  if (worse_epochs_ >= patience_) run.stop = true;
}

Attributes EarlyStopping::state() const {
  Attributes state = best_.state();
  state.set("worse_epochs", worse_epochs_);
  return state;
}

void EarlyStopping::load_state(const Attributes& state) {
  best_.load_state(state);
  const auto worse = state.get<int64_t>("worse_epochs", 0);
  check<FormatError>(worse >= 0 && worse <= INT32_MAX, "training state: worse_epochs is ", worse);
  worse_epochs_ = worse;
}

}  // namespace thimble
