// One pass of training over a dataset, with its progress on the terminal.
#pragma once

#include <functional>
#include <string>

#include <thimble/core/dtype.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/module.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::apps {

/// What has been done of an epoch. Loss and accuracy are means over the images, before each step.
struct EpochResult {
  int64_t steps = 0, images = 0, correct = 0;
  double loss_sum = 0, seconds = 0;

  double loss() const { return loss_sum / static_cast<double>(images); }
  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(images); }
  /// 0 where no time has passed, or what a training state calls so.
  double images_per_second() const { return seconds >= 1e-6 ? static_cast<double>(images) / seconds : 0; }
};

struct StepHooks {
  /// Called with the number of the step in this epoch: sets the learning rate.
  std::function<void(int64_t)> before;
  /// Called when a step is done and counted.
  std::function<void()> after = [] {};
  /// What products are computed in, as Autocast says.
  DType precision = DType::float32;
};

/// Trains on the cross-entropy for the rest of an epoch, of which `epoch` has been done already (and its batches
/// skipped by the loader). Throws ValueError if the loss does not stay finite.
void train_epoch(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader, const std::string& title,
                 const StepHooks& hooks, EpochResult& epoch);

}  // namespace thimble::apps
