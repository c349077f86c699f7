// One pass of training over a dataset, with its progress on the terminal.
#pragma once

#include <functional>
#include <string>

#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/module.h>
#include <thimble/nn/optim/optimizer.h>

namespace thimble::apps {

struct EpochResult {
  double loss = 0, accuracy = 0, seconds = 0;  ///< means over the images, before each step
  int64_t images = 0;

  double images_per_second() const { return static_cast<double>(images) / seconds; }
};

/// Trains for one epoch on the cross-entropy. before_step is called with the number of each step in this epoch: it sets
/// the learning rate. Throws ValueError if the loss does not stay finite.
EpochResult train_epoch(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader,
                        const std::string& title, const std::function<void(int64_t)>& before_step);

}  // namespace thimble::apps
