// Inputs of models under test.
#pragma once

#include <thimble/core/random.h>
#include <thimble/core/tensor.h>

namespace thimble::nn {

/// Of the normal distribution.
inline Tensor random(const Shape& shape, uint64_t seed = 5) {
  Generator generator(seed);
  return randn(shape, generator);
}

}  // namespace thimble::nn
