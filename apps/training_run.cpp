#include "apps/training_run.h"

#include <algorithm>

#include "apps/numbers.h"
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/training/evaluate.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {

int64_t images_an_epoch(const nn::Module& model, int64_t images, int64_t batch_size, std::ostream& out) {
  const auto modules = model.named_modules();
  const bool normalizes = std::ranges::any_of(
      modules, [](const auto& module) { return dynamic_cast<const nn::BatchNorm*>(module.second) != nullptr; });
  if (!normalizes || images <= batch_size || images % batch_size != 1) return images;
  out << "each epoch leaves out one of the " << with_commas(images)
      << " images: batch normalization cannot learn from a last batch of one\n";
  return images - 1;
}

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
                               .after = [&] { states.after_step(progress.steps(loader.size()), progress); },
                               .precision = hooks.precision};
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
