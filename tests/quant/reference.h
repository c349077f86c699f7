// What quantized layers are to compute, written as plainly as possible.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/isa.h>
#include <thimble/core/parallel.h>
#include <thimble/quant/quantized_linear.h>

namespace thimble::quant {

inline NDArray random_normal(const Shape& shape, std::mt19937& rng, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (float& v : values) v = normal(rng);
  return NDArray::from_vector(values, shape);
}

inline NDArray random_bytes(const Shape& shape, std::mt19937& rng) {
  std::vector<uint8_t> values(static_cast<size_t>(shape.numel()));
  for (uint8_t& v : values) v = static_cast<uint8_t>(rng());
  return NDArray::from_vector(values, shape);
}

inline std::map<std::string, NDArray> arrays_of(const nn::Module& module) {
  std::map<std::string, NDArray> arrays;
  for (const auto& [name, tensor] : module.state()) arrays[name] = tensor.data();
  return arrays;
}

/// A QuantizedLinear's output for x [n, in], uint8 or float32, in three nested loops and 64-bit sums.
inline std::vector<float> reference_linear(const QuantizedLinear& layer, const std::vector<uint8_t>& x) {
  const auto& c = layer.config();
  const auto arrays = arrays_of(layer);
  const auto w = arrays.at("weight").to_vector<int8_t>();
  const auto bias = arrays.at("bias").to_vector<int32_t>();
  const auto scale = arrays.at("weight_scale").to_vector<float>();
  const auto in = static_cast<size_t>(c.in_features), out = static_cast<size_t>(c.out_features);
  std::vector<float> y;
  for (size_t row = 0; row < x.size() / in; ++row)
    for (size_t o = 0; o < out; ++o) {
      int64_t sum = bias[o];
      for (size_t i = 0; i < in; ++i) sum += int64_t{x[row * in + i] - c.input.zero_point} * w[o * in + i];
      EXPECT_EQ(sum, static_cast<int32_t>(sum)) << "the sum leaves int32";
      const double output_scale = c.output ? double{c.output->scale} : 1.0;
      const auto multiplier = static_cast<float>(double{c.input.scale} * double{scale[o]} / output_scale);
      const float v = static_cast<float>(static_cast<int32_t>(sum)) * multiplier;
      if (!c.output) {
        y.push_back(c.relu ? std::max(v, 0.0f) : v);
        continue;
      }
      const float q = std::nearbyint(v) + static_cast<float>(c.output->zero_point);
      const auto low = static_cast<float>(c.relu ? c.output->zero_point : 0);
      y.push_back(std::clamp(q, low, static_cast<float>((1 << c.output->bits) - 1)));
    }
  return y;
}

/// Calls check() under every instruction set that this CPU has, with one thread and with two.
template <typename F>
void on_every_machine(F&& check) {
  const Isa isa = active_isa();
  const int threads = num_threads();
  for (const Isa other : available_isas())
    for (const int count : {1, 2}) {
      SCOPED_TRACE(std::string(name(other)) + ", threads: " + std::to_string(count));
      set_isa(other);
      set_num_threads(count);
      check();
    }
  set_isa(isa);
  set_num_threads(threads);
}

}  // namespace thimble::quant
