// Random sizes.
#pragma once

#include <thimble/core/random.h>

namespace thimble {

/// 1 to n.
inline int64_t up_to(int64_t n, Generator& rng) {
  return static_cast<int64_t>(rng.below(static_cast<uint64_t>(n))) + 1;
}

}  // namespace thimble
