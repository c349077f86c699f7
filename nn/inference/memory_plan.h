// Where values lie in one block of memory, so that those which are not needed at the same time share it.
// Internal to nn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace thimble::nn {

/// A value that is needed from step `first` to step `last`, both included.
struct Lifetime {
  int64_t bytes = 0;
  size_t first = 0, last = 0;
};

/// Rounded up to where a value may begin.
int64_t aligned(int64_t bytes);

/// Where values lie.
struct MemoryPlan {
  std::vector<int64_t> offsets;  ///< of each value, multiples of 64
  int64_t bytes = 0;             ///< of the block
};

/// Places each value, the largest first, at the lowest offset that is free for as long as it lives.
MemoryPlan plan_memory(const std::vector<Lifetime>& values);

}  // namespace thimble::nn
