// How far a training run has come, and what it has measured: what its state keeps besides tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/nn/training/means.h>

namespace thimble {

/// What has been done of an epoch. Means are over the examples, before each step.
struct THIMBLE_API EpochSoFar {
  int64_t steps = 0, examples = 0;
  double seconds = 0;
  Means means = {};

  /// 0 where no time has passed, or what a training state calls so.
  double examples_per_second() const { return seconds >= 1e-6 ? static_cast<double>(examples) / seconds : 0; }
};

/// An epoch that is over: named numbers, in order. "train_loss" and the objective's others in training, "NAME_loss" and
/// so on for each dataset that it was evaluated on, "examples_per_second", "seconds".
class THIMBLE_API EpochRecord {
 public:
  using Values = std::vector<std::pair<std::string, double>>;

  EpochRecord() = default;
  explicit EpochRecord(Values values) : values_(std::move(values)) {}

  const Values& values() const { return values_; }
  bool contains(std::string_view name) const;
  /// Throws ValueError that lists the names if there is none of this.
  double operator[](std::string_view name) const;

 private:
  Values values_;
};

/// Where a run of fit() is.
struct THIMBLE_API TrainingProgress {
  std::vector<EpochRecord> epochs;     ///< those that are over
  EpochSoFar current;                  ///< the one after them, so far
  std::optional<double> lr;            ///< what the schedule's factors are of, once the run has begun
  std::optional<int64_t> epoch_steps;  ///< of the loader, once the run has begun
  int64_t first_epoch = 0;             ///< the loader's, when the run began
  Attributes callbacks;                ///< what callbacks remember: "0.best" is "best" of the first

  int64_t epoch() const { return std::ssize(epochs); }
  /// How many steps are done, of a run with so many an epoch.
  int64_t steps(int64_t steps_per_epoch) const { return epoch() * steps_per_epoch + current.steps; }

  /// "step 3 of epoch 2", or "epoch 2" if that is over.
  std::string described() const;

  Attributes to_attributes() const;
  /// Of this or an earlier version. Throws FormatError.
  static TrainingProgress from_attributes(const Attributes& attributes);
};

}  // namespace thimble
