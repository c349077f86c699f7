#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/nn/training/optim/check_options.h>
#include <thimble/nn/training/optim/reduce_lr_on_plateau.h>

namespace thimble::optim {

using PlateauOptions = ReduceLROnPlateauOptions;

namespace {
constexpr const char* kPlateau = "ReduceLROnPlateau";
}

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer& optimizer, PlateauOptions options)
    : optimizer_(optimizer),
      options_(options),
      best_(std::numeric_limits<double>::infinity() * (options.mode == PlateauOptions::Mode::min ? 1 : -1)) {
  check_decay(kPlateau, "factor", options.factor);
  check<ValueError>(options.patience >= 0, kPlateau, ": patience ", options.patience, " is negative");
  check<ValueError>(options.cooldown >= 0, kPlateau, ": cooldown ", options.cooldown, " is negative");
  check_option(kPlateau, "threshold", options.threshold);
  check_option(kPlateau, "min_lr", options.min_lr);
  check_option(kPlateau, "eps", options.eps);
}

bool ReduceLROnPlateau::is_better(double metric) const {
  const bool falls = options_.mode == PlateauOptions::Mode::min;
  if (std::isinf(best_)) return falls ? metric < best_ : metric > best_;  // of which there is no share
  const double by =
      options_.threshold_mode == PlateauOptions::ThresholdMode::rel ? best_ * options_.threshold : options_.threshold;
  return falls ? metric < best_ - by : metric > best_ + by;
}

bool ReduceLROnPlateau::step(double metric) {
  if (is_better(metric)) {
    best_ = metric;
    num_bad_epochs_ = 0;
  } else {
    ++num_bad_epochs_;
  }
  if (cooldown_counter_ > 0) {
    --cooldown_counter_;
    num_bad_epochs_ = 0;
  }
  if (num_bad_epochs_ <= options_.patience) return false;
  cooldown_counter_ = options_.cooldown;
  num_bad_epochs_ = 0;
  return reduce();
}

bool ReduceLROnPlateau::reduce() {
  std::vector<double> rates = optimizer_.lrs();
  bool is_any = false;
  for (double& rate : rates) {
    const double next = std::max(rate * options_.factor, options_.min_lr);
    if (rate - next <= options_.eps) continue;
    rate = next;
    is_any = true;
  }
  if (is_any) optimizer_.set_lrs(rates);
  return is_any;
}

Attributes ReduceLROnPlateau::state() const {
  return {{"best", best_}, {"num_bad_epochs", num_bad_epochs_}, {"cooldown_counter", cooldown_counter_}};
}

void ReduceLROnPlateau::load_state(const Attributes& state) {
  const auto best = state.get<double>("best");
  const auto bad = state.get<int64_t>("num_bad_epochs"), cooldown = state.get<int64_t>("cooldown_counter");
  check<ValueError>(!std::isnan(best), kPlateau, ": state 'best' is NaN");
  check<ValueError>(bad >= 0 && bad <= options_.patience, kPlateau, ": state 'num_bad_epochs' is ", bad,
                    ", not in [0, ", options_.patience, "]");
  check<ValueError>(cooldown >= 0 && cooldown <= options_.cooldown, kPlateau, ": state 'cooldown_counter' is ",
                    cooldown, ", not in [0, ", options_.cooldown, "]");
  best_ = best;
  num_bad_epochs_ = bad;
  cooldown_counter_ = cooldown;
}

}  // namespace thimble::optim
