// How far a training run has come, and what it has measured: what a training state keeps besides tensors.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "apps/training_loop.h"
#include <thimble/core/attributes.h>
#include <thimble/nn/training/evaluate.h>

namespace thimble::apps {

struct EpochRecord {
  double train_loss = 0, train_accuracy = 0, test_accuracy = 0, test_loss = 0, images_per_second = 0, seconds = 0;
};

/// What a record holds, by the names that files and JSON have for it.
struct EpochColumn {
  const char* name;
  double EpochRecord::*member;
};
inline constexpr std::array kEpochColumns{EpochColumn{"train_loss", &EpochRecord::train_loss},
                                          EpochColumn{"train_accuracy", &EpochRecord::train_accuracy},
                                          EpochColumn{"test_accuracy", &EpochRecord::test_accuracy},
                                          EpochColumn{"test_loss", &EpochRecord::test_loss},
                                          EpochColumn{"images_per_second", &EpochRecord::images_per_second},
                                          EpochColumn{"seconds", &EpochRecord::seconds}};

EpochRecord record_of(const EpochResult& epoch, const Evaluation& evaluation);

struct TrainingProgress {
  std::vector<EpochRecord> epochs;  ///< those that are over
  EpochResult current;              ///< the one after them, so far

  int64_t epoch() const { return std::ssize(epochs); }
  /// How many steps are done, of a run with so many an epoch.
  int64_t steps(int64_t steps_per_epoch) const { return epoch() * steps_per_epoch + current.steps; }

  /// "step 3 of epoch 2", or "epoch 2" if that is over.
  std::string described() const {
    if (epoch() > 0 && current.steps == 0) return str("epoch ", epoch());
    return str("step ", current.steps, " of epoch ", epoch() + 1);
  }

  Attributes to_attributes() const;
  /// Throws FormatError.
  static TrainingProgress from_attributes(const Attributes& attributes);
};

}  // namespace thimble::apps
