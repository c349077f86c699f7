// A learning rate that becomes smaller where a metric no longer gets better.
//
//   optim::ReduceLROnPlateau plateau(adam, {.factor = 0.5, .patience = 3});
//   plateau.step(loss.item<double>());        // after each epoch, of validation best
#pragma once

#include <cstdint>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/nn/compiler_messages.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::optim {

/// Options of ReduceLROnPlateau; names and defaults are PyTorch's.
struct THIMBLE_API ReduceLROnPlateauOptions {
  /// Whether the metric gets better as it falls (a loss) or as it rises (an accuracy).
  enum class Mode { min, max } mode = Mode::min;
  double factor = 0.1;      ///< what rates are multiplied by, below 1
  int64_t patience = 10;    ///< so many metrics that are not better pass before that
  double threshold = 1e-4;  ///< how much better is better
  /// Whether the threshold is a share of the best metric or a difference from it.
  enum class ThresholdMode { rel, abs } threshold_mode = ThresholdMode::rel;
  int64_t cooldown = 0;  ///< so many metrics pass after a reduction before any is counted again
  double min_lr = 0;     ///< where rates end
  double eps = 1e-8;     ///< a rate that would change by less stays
};

/// PyTorch's ReduceLROnPlateau: the rates of all of an optimizer's groups fall together. It sets them, so it does not
/// go together with a Schedule, which sets them, too.
class THIMBLE_API ReduceLROnPlateau {
 public:
  /// The optimizer must outlive this. Throws ValueError for options out of range.
  explicit ReduceLROnPlateau(Optimizer& optimizer, ReduceLROnPlateauOptions options = {});
  template <typename Slip = thimble::detail::NotAnOptionOf<ReduceLROnPlateauOptions>>
  explicit ReduceLROnPlateau(Optimizer& optimizer, ...) = delete;

  /// To be called with each new metric, after an epoch for instance. One that is NaN is not better. Returns whether
  /// rates were reduced.
  bool step(double metric);

  /// The best metric so far; infinite before the first.
  double best() const { return best_; }
  /// "best", "num_bad_epochs" and "cooldown_counter": with the optimizer's state, all that the next step depends on.
  /// For TrainingState::progress (Attributes::set_all, Attributes::part).
  Attributes state() const;
  /// Throws FormatError or ValueError for what state() cannot have been; nothing is changed then.
  void load_state(const Attributes& state);

 private:
  bool is_better(double metric) const;
  bool reduce();

  Optimizer& optimizer_;
  ReduceLROnPlateauOptions options_;
  double best_;
  int64_t num_bad_epochs_ = 0, cooldown_counter_ = 0;
};

}  // namespace thimble::optim
