#include <algorithm>
#include <cmath>
#include <numbers>

#include <thimble/core/error.h>
#include <thimble/nn/training/optim/schedule.h>

namespace thimble::optim {

namespace {
// Schedules count from 0.
int64_t checked_step(int64_t t) {
  check<ValueError>(t >= 0, "schedule: step ", t, " is negative");
  return t;
}
}  // namespace

Schedule constant() {
  return [](int64_t) { return 1.0; };
}

Schedule step(int64_t step_size, double gamma) {
  check<ValueError>(step_size >= 1, "step schedule: step_size ", step_size, " must be at least 1");
  return [=](int64_t t) { return std::pow(gamma, static_cast<double>(checked_step(t) / step_size)); };
}

Schedule cosine(int64_t total, double least) {
  check<ValueError>(total >= 1, "cosine schedule: total ", total, " must be at least 1");
  return [=](int64_t t) {
    const double progress = static_cast<double>(std::min(checked_step(t), total)) / static_cast<double>(total);
    return least + (1 - least) * (1 + std::cos(std::numbers::pi * progress)) / 2;
  };
}

Schedule warmup(int64_t steps, Schedule then) {
  check<ValueError>(steps >= 0, "warm-up schedule: steps ", steps, " is negative");
  return [=](int64_t t) {
    if (checked_step(t) >= steps) return then(t - steps);
    return static_cast<double>(t + 1) / static_cast<double>(steps + 1);
  };
}

}  // namespace thimble::optim
