// Batches for observers, the same bits as those of tests/data/make_observer_vectors.py.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <thimble/core/error.h>

namespace thimble::quant {

/// Multiples of 2^-24 in [0, 1): SplitMix64 started at seed * 2^32.
inline std::vector<double> uniforms(uint64_t seed, size_t n) {
  std::vector<double> values;
  for (size_t i = 1; i <= n; ++i) {
    uint64_t z = ((seed << 32) + i) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z = z ^ (z >> 31);
    values.push_back(static_cast<double>(z >> 40) * 0x1p-24);
  }
  return values;
}

/// n values in [low, high], both of which occur: "uniform", "bell", "peaked" or "tailed", or one of these after
/// "relu_".
inline std::vector<float> stream_batch(const std::string& kind, uint64_t seed, size_t n, double low, double high) {
  const std::vector<double> all = uniforms(seed, 4 * n);
  const bool relu = kind.starts_with("relu_");
  const std::string shape = relu ? kind.substr(5) : kind;
  std::vector<float> batch;
  for (size_t i = 0; i < n; ++i) {
    const std::array<double, 4> u{all[i], all[n + i], all[2 * n + i], all[3 * n + i]};
    double t = 2 * u[0] - 1;
    if (shape == "bell")
      t = (u[0] + u[1] + u[2] + u[3] - 2) / 2;
    else if (shape == "peaked")
      t = t * t * t * t * t;
    else if (shape == "tailed")
      t = t * u[1] * u[2] * u[3];
    else
      check<ValueError>(shape == "uniform", "stream_batch: '", kind, "'");
    const double v = t < 0 ? t * -low : t * high;
    batch.push_back(static_cast<float>(relu ? std::max(v, 0.0) : v));
  }
  batch.at(0) = static_cast<float>(low);
  batch.at(1) = static_cast<float>(high);
  return batch;
}

}  // namespace thimble::quant
