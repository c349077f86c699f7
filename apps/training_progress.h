// How far a training run has come, and what it has measured: what a training state keeps besides tensors.
#pragma once

#include <vector>

#include "apps/training_loop.h"
#include <thimble/core/attributes.h>

namespace thimble::apps {

struct EpochRecord {
  double train_loss = 0, train_accuracy = 0, test_accuracy = 0, test_loss = 0, images_per_second = 0, seconds = 0;

  /// Calls f(name, value) for each of them. Self: EpochRecord or const EpochRecord.
  template <typename Self, typename F>
  static void for_each(Self& record, F&& f) {
    f("train_loss", record.train_loss);
    f("train_accuracy", record.train_accuracy);
    f("test_accuracy", record.test_accuracy);
    f("test_loss", record.test_loss);
    f("images_per_second", record.images_per_second);
    f("seconds", record.seconds);
  }
};

struct TrainingProgress {
  std::vector<EpochRecord> epochs;  ///< those that are over
  EpochResult current;              ///< the one after them, so far

  int64_t epoch() const { return std::ssize(epochs); }

  Attributes to_attributes() const;
  /// Throws FormatError.
  static TrainingProgress from_attributes(const Attributes& attributes);
};

}  // namespace thimble::apps
