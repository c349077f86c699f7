// What optimizers expect of their options. Internal.
#pragma once

#include <cmath>

#include <thimble/core/error.h>

namespace thimble::optim {

/// Throws ValueError, beginning with the optimizer's name, for a value that is negative or not finite.
inline void check_option(const char* optimizer, const char* option, double value) {
  check<ValueError>(std::isfinite(value) && value >= 0, optimizer, ": ", option, " ", value,
                    " must be finite and not negative");
}

/// The same for a share that moving averages keep: ValueError unless it is in [0, 1).
inline void check_decay(const char* optimizer, const char* option, double value) {
  check<ValueError>(value >= 0 && value < 1, optimizer, ": ", option, " ", value, " is not in [0, 1)");
}

}  // namespace thimble::optim
