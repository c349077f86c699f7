#include <utility>

#include <thimble/core/random.h>
#include <thimble/core/text.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/training/eval_mode.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/training_callbacks.h>

namespace thimble {

BestCheckpoint::BestCheckpoint(std::filesystem::path path, Tensor example, Monitor monitor, Attributes notes)
    : BestCheckpoint(std::move(path), std::vector<Tensor>{std::move(example)}, std::move(monitor), std::move(notes)) {}

BestCheckpoint::BestCheckpoint(std::filesystem::path path, std::vector<Tensor> examples, Monitor monitor,
                               Attributes notes)
    : path_(std::move(path)), examples_(std::move(examples)), best_(std::move(monitor)), notes_(std::move(notes)) {}

void BestCheckpoint::after_epoch(TrainingRun& run) {
  if (!best_.improves(run.progress.epochs.back())) return;
  const nn::EvalMode mode(run.model);
  save_model(nn::trace(run.model, examples_), path_, notes_);
}

SaveStates::SaveStates(const std::filesystem::path& folder, const SaveStatesOptions& options)
    : path_(folder), folder_(folder, options.keep), every_(options.every) {
  check<ValueError>(every_ >= 1, "SaveStates: a state every ", every_, " steps");
}

void SaveStates::on_start(TrainingRun& run) {
  const auto found = newest_training_state(path_);
  if (!found) return;
  const TrainingProgress saved = TrainingProgress::from_attributes(found->state.progress);
  check<ValueError>(saved.steps(run.steps_per_epoch) <= run.steps(), "SaveStates: ", detail::quote_path(path_),
                    " holds a state after ", saved.described(),
                    ": go on from it by resume_training(), or name another folder");
}

void SaveStates::after_step(TrainingRun& run) {
  if (run.steps() % every_ == 0) save(run);
}

void SaveStates::on_end(TrainingRun& run) {
  folder_.wait();  // or the state before would give way to the last
  save(run);
  folder_.flush();
}

void SaveStates::save(const TrainingRun& run) {
  folder_.save(run.steps(), capture(run.model, run.optimizer, default_generator(), run.snapshot().to_attributes()));
}

TrainingProgress resume_training(const std::filesystem::path& folder, nn::Module& model, optim::Optimizer& optimizer) {
  if (!std::filesystem::exists(folder)) return {};
  const auto found = newest_training_state(folder);
  if (!found) return {};
  TrainingProgress progress = TrainingProgress::from_attributes(found->state.progress);
  restore(found->state, model, optimizer, default_generator());
  return progress;
}

}  // namespace thimble
