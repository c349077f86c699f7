#include <cmath>

#include <thimble/nn/init.h>

namespace thimble::nn::init {

namespace {

struct Fans {
  double in, out;
};

Fans fans(const Shape& shape) {
  check<ShapeError>(shape.ndim() >= 2, "init: a weight needs at least 2 dimensions, got ", shape);
  double receptive = 1;
  for (int i = 2; i < shape.ndim(); ++i) receptive *= static_cast<double>(shape[i]);
  return {static_cast<double>(shape[1]) * receptive, static_cast<double>(shape[0]) * receptive};
}

// An empty fan gives an empty array, for which any finite bound does.
double root(double numerator, double fan) { return fan > 0 ? std::sqrt(numerator / fan) : 0; }

NDArray scaled(NDArray unit, double scale, double shift) {
  float* p = unit.data<float>();
  for (int64_t i = 0; i < unit.numel(); ++i) p[i] = static_cast<float>(p[i] * scale + shift);
  return unit;
}

}  // namespace

NDArray uniform(const Shape& shape, double low, double high, Generator& generator) {
  return scaled(rand(shape, generator), high - low, low);
}

NDArray normal(const Shape& shape, double mean, double std, Generator& generator) {
  return scaled(randn(shape, generator), std, mean);
}

NDArray kaiming_uniform(const Shape& shape, double a, Generator& generator) {
  const double bound = root(6 / (1 + a * a), fans(shape).in);
  return uniform(shape, -bound, bound, generator);
}

NDArray kaiming_normal(const Shape& shape, double a, Generator& generator) {
  return normal(shape, 0, root(2 / (1 + a * a), fans(shape).in), generator);
}

NDArray xavier_uniform(const Shape& shape, double gain, Generator& generator) {
  const double bound = gain * root(6, fans(shape).in + fans(shape).out);
  return uniform(shape, -bound, bound, generator);
}

NDArray xavier_normal(const Shape& shape, double gain, Generator& generator) {
  return normal(shape, 0, gain * root(2, fans(shape).in + fans(shape).out), generator);
}

NDArray default_weight(const Shape& shape) { return kaiming_uniform(shape, std::sqrt(5.0)); }

NDArray default_bias(int64_t size, const Shape& weight_shape) {
  const double bound = root(1, fans(weight_shape).in);
  return uniform({size}, -bound, bound);
}

}  // namespace thimble::nn::init
