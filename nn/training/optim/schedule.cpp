#include <algorithm>
#include <cmath>
#include <limits>
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

void check_factor(const char* schedule, const char* option, double factor) {
  check<ValueError>(factor >= 0 && std::isfinite(factor), schedule, ": ", option, ' ', factor,
                    " must be a number from 0 on");
}

// From `from` to `to` along half a cosine, for progress from 0 to 1.
double along_cosine(double from, double to, double progress) {
  return to + (from - to) * (1 + std::cos(std::numbers::pi * progress)) / 2;
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
    return along_cosine(1, least, progress);
  };
}

Schedule warmup(int64_t steps, Schedule then) {
  check<ValueError>(steps >= 0, "warm-up schedule: steps ", steps, " is negative");
  return [=](int64_t t) {
    if (checked_step(t) >= steps) return then(t - steps);
    return static_cast<double>(t + 1) / static_cast<double>(steps + 1);
  };
}

Schedule multi_step(const std::vector<int64_t>& milestones, double gamma) {
  check_factor("multi-step schedule", "gamma", gamma);
  for (int64_t milestone : milestones)
    check<ValueError>(milestone >= 0, "multi-step schedule: milestone ", milestone, " is negative");
  return [=](int64_t t) {
    checked_step(t);
    const auto passed = std::ranges::count_if(milestones, [=](int64_t milestone) { return milestone <= t; });
    return std::pow(gamma, static_cast<double>(passed));
  };
}

Schedule exponential(double gamma) {
  check_factor("exponential schedule", "gamma", gamma);
  return [=](int64_t t) { return std::pow(gamma, static_cast<double>(checked_step(t))); };
}

Schedule linear(double first, double last, int64_t total) {
  check<ValueError>(total >= 1, "linear schedule: total ", total, " must be at least 1");
  check_factor("linear schedule", "first", first);
  check_factor("linear schedule", "last", last);
  return [=](int64_t t) {
    return first + (last - first) * static_cast<double>(std::min(checked_step(t), total)) / static_cast<double>(total);
  };
}

Schedule cosine_warm_restarts(int64_t period, int64_t factor, double least) {
  check<ValueError>(period >= 1, "cosine schedule: period ", period, " must be at least 1");
  check<ValueError>(factor >= 1, "cosine schedule: factor ", factor, " must be at least 1");
  check_factor("cosine schedule", "least", least);
  return [=](int64_t t) {
    int64_t since = checked_step(t), length = period;
    if (factor == 1) since %= length;
    while (since >= length) {
      since -= length;
      // A period that would end beyond what integers count does not end.
      if (__builtin_mul_overflow(length, factor, &length)) length = std::numeric_limits<int64_t>::max();
    }
    return along_cosine(1, least, static_cast<double>(since) / static_cast<double>(length));
  };
}

Schedule one_cycle(int64_t total, OneCycleOptions o) {
  check<ValueError>(total >= 1, "one-cycle schedule: total ", total, " must be at least 1");
  check<ValueError>(o.pct_start >= 0 && o.pct_start <= 1, "one-cycle schedule: pct_start ", o.pct_start,
                    " is not in [0, 1]");
  for (double divisor : {o.div_factor, o.final_div_factor})
    check<ValueError>(divisor > 0 && std::isfinite(divisor), "one-cycle schedule: factor ", divisor,
                      " must be finite and above 0");
  return [=](int64_t t) {
    // The largest rate is at the step before those that are pct_start of the total have passed, as in PyTorch.
    const double peak = o.pct_start * static_cast<double>(total) - 1, end = static_cast<double>(total - 1);
    const double first = 1 / o.div_factor, least = first / o.final_div_factor;
    const double step = std::min(static_cast<double>(checked_step(t)), end);
    if (step < peak) return along_cosine(first, 1, step / peak);
    return end > peak ? along_cosine(1, least, (step - peak) / (end - peak)) : 1;
  };
}

}  // namespace thimble::optim
