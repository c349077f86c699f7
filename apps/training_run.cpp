#include "apps/training_run.h"

#include <algorithm>

#include "apps/numbers.h"
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {

namespace {

bool normalizes_batches(const nn::Module& model) {
  return std::ranges::any_of(model.named_modules(), [](const auto& module) {
    return dynamic_cast<const nn::BatchNorm*>(module.second) != nullptr;
  });
}

}  // namespace

int64_t images_an_epoch(const nn::Module& model, int64_t images, int64_t batch_size, std::ostream& out) {
  if (!normalizes_batches(model) || images <= batch_size || images % batch_size != 1) return images;
  out << "each epoch leaves out one of the " << with_commas(images)
      << " images: batch normalization cannot learn from a last batch of one\n";
  return images - 1;
}

Objective classification_in_batches() {
  return [inner = classification()](nn::Module& model, const data::Batch& batch, Means& means) {
    try {
      return inner(model, batch, means);
    } catch (const ValueError& e) {  // batch normalization of one pixel
      if (batch.size() > 1 || !model.training() || !normalizes_batches(model)) throw;
      throw ValueError(str(e.what(), "; the batch is one image: take a --batch-size of 2 or more"));
    }
  };
}

std::string figures_of(const EpochSoFar& epoch, const std::string& examples) {
  return str("loss ", fixed(epoch.means["loss"], 4), "  accuracy ", fixed(100 * epoch.means["accuracy"], 2), "%  ",
             with_commas(static_cast<int64_t>(epoch.examples_per_second())), ' ', examples, "/s");
}

void EpochLine::after_epoch(TrainingRun& run) {
  out_ << run.title(run.progress.epoch()) << ": " << text_(run.progress.epochs.back()) << '\n' << std::flush;
}

void save_trained(const nn::Graph& graph, const std::string& out, const Attributes& notes, const std::string& advice) {
  try {
    save_model(graph, out, notes);
  } catch (const IOError& error) {  // nothing that has been trained is lost
    throw IOError(error.what() + advice);
  }
}

}  // namespace thimble::apps
