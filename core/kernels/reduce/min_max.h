// The smallest and the largest of many floats.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// A dense array as [outer, channels, inner]; one channel stands for a whole tensor.
struct MinMaxShape {
  int64_t outer, channels, inner;
};

/// min[c] and max[c] [channels] = the smallest and the largest x[:, c, :]; a zero is +0. The same on every instruction
/// set and thread count. Returns whether all values are finite; if not, min and max mean nothing. The array must not be
/// empty.
bool min_max(const float* x, const MinMaxShape& shape, float* min, float* max);

}  // namespace thimble::kernels
