#include "apps/training_run.h"

#include <thimble/nn/training/evaluate.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {

void train_epochs(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader, const data::Dataset& test,
                  int64_t epochs, StateKeeper& states, const RunHooks& hooks, TrainingProgress& progress) {
  loader.set_epoch(progress.epoch());
  while (progress.epoch() < epochs) {
    const std::string title = str("epoch ", progress.epoch() + 1, "/", epochs);
    EpochResult& epoch = progress.current;
    const int64_t steps_before = progress.epoch() * loader.size();
    model.train();
    loader.skip(epoch.steps);
    const StepHooks step_hooks{.before = [&](int64_t step) { hooks.before_step(steps_before + step); },
                               .after = [&] { states.after_step(progress.steps(loader.size()), progress); }};
    train_epoch(model, optimizer, loader, title, step_hooks, epoch);
    progress.epochs.push_back(record_of(epoch, evaluate(model, test)));
    hooks.after_epoch(title, progress.epochs.back());
    progress.current = {};
  }
  states.finish(progress.steps(loader.size()), progress);
}

void save_trained(const nn::Graph& graph, const std::string& out, const Attributes& notes, const std::string& advice) {
  try {
    save_model(graph, out, notes);
  } catch (const IOError& error) {  // nothing that has been trained is lost
    throw IOError(error.what() + advice);
  }
}

}  // namespace thimble::apps
