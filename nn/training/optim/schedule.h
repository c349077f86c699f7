// Learning-rate schedules: a factor on the base rate as a function of the step alone, so that a resumed run needs no
// state of them.
//
//   auto schedule = optim::warmup(100, optim::cosine(1000));
//   adam.set_lr(1e-3 * schedule(step));       // the first group's rate; others follow in proportion
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <thimble/core/api.h>

namespace thimble::optim {

/// Step (from 0) -> factor.
using Schedule = std::function<double(int64_t)>;

/// Always 1.
THIMBLE_API Schedule constant();
/// gamma^(step / step_size), rounded down: PyTorch's StepLR. Throws ValueError for step_size below 1.
THIMBLE_API Schedule step(int64_t step_size, double gamma = 0.1);
/// From 1 to `least` along half a cosine over `total` steps, then `least`: PyTorch's CosineAnnealingLR. Throws
/// ValueError for total below 1.
THIMBLE_API Schedule cosine(int64_t total, double least = 0);
/// Rises linearly, (step + 1) / (steps + 1), over the first `steps` steps, then follows `then` from its own step 0.
/// Throws ValueError for negative steps.
THIMBLE_API Schedule warmup(int64_t steps, Schedule then = constant());

/// Times gamma at each of the milestones, steps that need not be sorted: PyTorch's MultiStepLR. Throws ValueError for
/// one that is negative.
THIMBLE_API Schedule multi_step(const std::vector<int64_t>& milestones, double gamma = 0.1);
/// gamma^step: PyTorch's ExponentialLR.
THIMBLE_API Schedule exponential(double gamma);
/// From `first` to `last` in a straight line over `total` steps, then `last`: PyTorch's LinearLR. Throws ValueError for
/// total below 1.
THIMBLE_API Schedule linear(double first, double last, int64_t total);
/// Half a cosine from 1 to `least` over `period` steps, and again, each period `factor` times as long as the one
/// before: PyTorch's CosineAnnealingWarmRestarts (Loshchilov and Hutter 2017). Throws ValueError for period or factor
/// below 1.
THIMBLE_API Schedule cosine_warm_restarts(int64_t period, int64_t factor = 1, double least = 0);

/// Options of one_cycle().
struct THIMBLE_API OneCycleOptions {
  double pct_start = 0.3;           ///< the share of the steps in which the rate rises
  double div_factor = 25;           ///< what the first rate is the largest divided by
  double final_div_factor = 10000;  ///< what the last one is the first divided by
};

/// Rises from 1 / div_factor to 1 and falls to 1 / div_factor / final_div_factor at step total - 1, each along half a
/// cosine, then stays: PyTorch's OneCycleLR (Smith and Topin 2018), of which the base rate is max_lr. Momenta stay as
/// they are (cycle_momentum=False). Throws ValueError for total below 1, a pct_start outside of [0, 1] and factors that
/// are not above 0.
THIMBLE_API Schedule one_cycle(int64_t total, OneCycleOptions options = {});

}  // namespace thimble::optim
