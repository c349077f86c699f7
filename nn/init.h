// Initializers of weights, PyTorch's names and defaults. fan_in and fan_out of a weight [out, in, k...] are in *
// prod(k) and out * prod(k).
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/random.h>

namespace thimble::nn::init {

/// Uniform over [low, high).
THIMBLE_API NDArray uniform(const Shape& shape, double low, double high, Generator& generator = default_generator());
THIMBLE_API NDArray normal(const Shape& shape, double mean, double std, Generator& generator = default_generator());
/// He et al. 2015, for leaky_relu of slope a: bound sqrt(6 / ((1 + a^2) fan_in)).
THIMBLE_API NDArray kaiming_uniform(const Shape& shape, double a = 0, Generator& generator = default_generator());
/// The same with std sqrt(2 / ((1 + a^2) fan_in)).
THIMBLE_API NDArray kaiming_normal(const Shape& shape, double a = 0, Generator& generator = default_generator());
/// Glorot and Bengio 2010: bound gain * sqrt(6 / (fan_in + fan_out)).
THIMBLE_API NDArray xavier_uniform(const Shape& shape, double gain = 1, Generator& generator = default_generator());
/// The same with std gain * sqrt(2 / (fan_in + fan_out)).
THIMBLE_API NDArray xavier_normal(const Shape& shape, double gain = 1, Generator& generator = default_generator());

/// What PyTorch gives Linear and Conv layers: weight kaiming_uniform(a = sqrt(5)), bias within +-1/sqrt(fan_in).
THIMBLE_API NDArray default_weight(const Shape& shape);
THIMBLE_API NDArray default_bias(int64_t size, const Shape& weight_shape);

}  // namespace thimble::nn::init
