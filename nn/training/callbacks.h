// Callbacks of fit() that need no files: lines, a progress bar, early stopping. Those that write files are in
// serialization/training_callbacks.h.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include <thimble/core/api.h>
#include <thimble/core/progress_bar.h>
#include <thimble/nn/training/fit.h>

namespace thimble {

/// Writes a line when an epoch is over: "epoch 1/20: train loss 0.3021, train accuracy 0.9112, test loss ...".
class THIMBLE_API EpochLines : public Callback {
 public:
  /// Keeps the stream, which must outlive it.
  explicit EpochLines(std::ostream& out) : out_(out) {}
  void after_epoch(TrainingRun& run) override;

 private:
  std::ostream& out_;
};

/// Draws how far an epoch is, and its means, on a terminal; nothing in a pipe.
class THIMBLE_API EpochBar : public Callback {
 public:
  EpochBar();
  /// `text` says what stands behind the bar; two blanks separate figures.
  explicit EpochBar(std::function<std::string(const EpochSoFar&)> text);
  void on_start(TrainingRun& run) override;
  void before_step(TrainingRun& run) override;
  void after_step(TrainingRun& run) override;
  void on_end(TrainingRun& run) override;

 private:
  std::function<std::string(const EpochSoFar&)> text_;
  std::unique_ptr<ProgressBar> bar_;
};

/// Which of the numbers that an epoch's record has is watched, and what better means.
struct THIMBLE_API Monitor {
  std::string name;               ///< "test_loss"
  bool higher_is_better = false;  ///< as of accuracies
  double min_delta = 0;           ///< what is better by less is not
};

/// Follows a monitor: the best value so far. NaN is never the best.
class THIMBLE_API Best {
 public:
  /// Throws ValueError for a negative or infinite min_delta.
  explicit Best(Monitor monitor);

  /// Whether this epoch is the best so far. Throws ValueError if nothing of the monitor's name was measured.
  bool improves(const EpochRecord& epoch);

  Attributes state() const;
  void load_state(const Attributes& state);

 private:
  Monitor monitor_;
  bool any_ = false;
  double value_ = 0;
};

/// Options of EarlyStopping.
struct THIMBLE_API EarlyStoppingOptions {
  int64_t patience = 3;  ///< so many epochs in a row without a better one end the run
  bool higher_is_better = false;
  double min_delta = 0;
};

/// Ends a run that gets no better.
class THIMBLE_API EarlyStopping : public Callback {
 public:
  /// Watches the number of this name, see EpochRecord. Throws ValueError for a patience below 1 or a min_delta that is
  /// negative or infinite.
  explicit EarlyStopping(std::string monitor, const EarlyStoppingOptions& options = {});
  void on_start(TrainingRun& run) override;
  void after_epoch(TrainingRun& run) override;
  Attributes state() const override;
  void load_state(const Attributes& state) override;

 private:
  Best best_;
  int64_t patience_;
  int64_t worse_epochs_ = 0;
};

}  // namespace thimble
