// Learning-rate schedules: a factor on the base rate as a function of the step alone, so that a resumed run needs no
// state of them.
//
//   auto schedule = optim::warmup(100, optim::cosine(1000));
//   adam.set_lr(1e-3 * schedule(step));       // the first group's rate; others follow in proportion
#pragma once

#include <cstdint>
#include <functional>

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

}  // namespace thimble::optim
