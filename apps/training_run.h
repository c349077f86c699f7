// The epochs of a training run: steps, evaluation, and states on the way.
#pragma once

#include <functional>
#include <ostream>
#include <string>

#include "apps/state_keeper.h"
#include "apps/training_progress.h"
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/module.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::apps {

struct RunHooks {
  /// Called before each step, whose number counts from the start of the run: sets the learning rate.
  std::function<void(int64_t)> before_step;
  /// Called when an epoch is over and evaluated.
  std::function<void(const std::string& title, const EpochRecord&)> after_epoch;
  /// What steps compute products in; evaluation is in float32.
  DType precision = DType::float32;
};

/// How many of the images an epoch takes in such batches: all, but for the one that a last batch would be of. Batch
/// normalization cannot learn from a single value a channel, which is what it sees of one image of a pixel, and its
/// running statistics gain nothing from one image of any size. Says so on `out`.
int64_t images_an_epoch(const nn::Module& model, int64_t images, int64_t batch_size, std::ostream& out);

/// Trains the model for as many epochs as are left after `progress`, evaluates it after each, and saves states. Throws
/// as StateKeeper and train_epoch() do.
void train_epochs(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader, const data::Dataset& test,
                  int64_t epochs, StateKeeper& states, const RunHooks& hooks, TrainingProgress& progress);

/// save_model() of what a run has made. `advice` is the run's StateKeeper::advice(), which its error then ends in.
void save_trained(const nn::Graph& graph, const std::string& out, const Attributes& notes, const std::string& advice);

}  // namespace thimble::apps
