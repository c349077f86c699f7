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

#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>
#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_linear.h>

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

/// Every number of bits, sign and scheme.
inline std::vector<QuantizationSpec> per_tensor_specs() {
  std::vector<QuantizationSpec> specs;
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool is_signed : {false, true})
      for (const QScheme scheme : {QScheme::affine, QScheme::symmetric})
        specs.push_back({.bits = bits, .is_signed = is_signed, .scheme = scheme});
  return specs;
}

/// The message of the ValueError that f throws.
template <typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const ValueError& e) {
    return e.what();
  }
  ADD_FAILURE() << "no ValueError";
  return "";
}

/// What an integer layer gives for the sum of an output whose weights have this scale.
inline float reference_output(int64_t sum, const IntegerProduct::Quantization& q, float weight_scale) {
  EXPECT_EQ(sum, static_cast<int32_t>(sum)) << "the sum leaves int32";
  const double output_scale = q.output ? double{q.output->scale} : 1.0;
  // Sums are those of weights shifted to 8 bits.
  const double step = double{weight_scale} / (1 << (8 - q.weight_bits));
  const auto multiplier = static_cast<float>(double{q.input.scale} * step / output_scale);
  const float v = static_cast<float>(static_cast<int32_t>(sum)) * multiplier;
  if (!q.output) return q.relu ? std::max(v, 0.0f) : v;
  const auto zero_point = static_cast<float>(q.output->zero_point);
  const float low = q.relu ? zero_point : 0, high = static_cast<float>((1 << q.output->bits) - 1);
  return std::clamp(std::nearbyint(v) + zero_point, low, high);
}

/// A QuantizedLinear's output for x [n, in], uint8 or float32, in three nested loops and 64-bit sums.
inline std::vector<float> reference_linear(const QuantizedLinear& layer, const std::vector<uint8_t>& x) {
  const auto& c = layer.config();
  const auto arrays = arrays_of(layer);
  const auto w = layer.weights().unpacked().to_vector<int8_t>();
  const int shift = 1 << layer.weights().shift();
  const auto bias = arrays.at("bias").to_vector<int32_t>();
  const auto scale = arrays.at("weight_scale").to_vector<float>();
  const auto in = static_cast<size_t>(c.in_features), out = static_cast<size_t>(c.out_features);
  std::vector<float> y;
  for (size_t row = 0; row < x.size() / in; ++row)
    for (size_t o = 0; o < out; ++o) {
      int64_t sum = bias[o];
      for (size_t i = 0; i < in; ++i) sum += int64_t{x[row * in + i] - c.input.zero_point} * w[o * in + i] * shift;
      y.push_back(reference_output(sum, layer.quantization(), scale[o]));
    }
  return y;
}

/// A QuantizedConv2d's output for x [n, in, h, w], in the order of its dimensions, pixel by pixel and tap by tap.
inline std::vector<float> reference_conv2d(const QuantizedConv2d& layer, const NDArray& x) {
  const Conv2dOptions& o = layer.options();
  const auto arrays = arrays_of(layer);
  const Shape &image = x.shape(), &kernel = layer.weights().shape();
  const auto pixels = x.to_vector<uint8_t>();
  const auto w = layer.weights().unpacked().to_vector<int8_t>();
  const int shift = 1 << layer.weights().shift();
  const auto bias = arrays.at("bias").to_vector<int32_t>();
  const auto scale = arrays.at("weight_scale").to_vector<float>();
  const int64_t in_group = kernel[1], out_group = kernel[0] / o.groups;
  const int64_t bottom = image[2] + o.padding.top + o.padding.bottom - o.dilation.height * (kernel[2] - 1);
  const int64_t right = image[3] + o.padding.left + o.padding.right - o.dilation.width * (kernel[3] - 1);
  std::vector<float> out;
  for (int64_t n = 0; n < image[0]; ++n)
    for (int64_t channel = 0; channel < kernel[0]; ++channel)
      for (int64_t top = 0; top < bottom; top += o.stride.height)
        for (int64_t left = 0; left < right; left += o.stride.width) {
          int64_t sum = bias[static_cast<size_t>(channel)];
          for (int64_t c = 0; c < in_group; ++c)
            for (int64_t kh = 0; kh < kernel[2]; ++kh)
              for (int64_t kw = 0; kw < kernel[3]; ++kw) {
                const int64_t row = top - o.padding.top + kh * o.dilation.height;
                const int64_t column = left - o.padding.left + kw * o.dilation.width;
                if (row < 0 || row >= image[2] || column < 0 || column >= image[3]) continue;  // 0, as a number
                const int64_t from = n * image[1] + channel / out_group * in_group + c;
                const int pixel = pixels[static_cast<size_t>((from * image[2] + row) * image[3] + column)];
                const int weight = w[static_cast<size_t>(((channel * in_group + c) * kernel[2] + kh) * kernel[3] + kw)];
                sum += (pixel - layer.quantization().input.zero_point) * weight * shift;
              }
          out.push_back(reference_output(sum, layer.quantization(), scale[static_cast<size_t>(channel)]));
        }
  return out;
}

/// Calls check() under every instruction set that this CPU has, with one to three threads.
template <typename F>
void on_every_machine(F&& check) {
  const Isa isa = active_isa();
  const int threads = num_threads();
  for (const Isa other : available_isas())
    for (const int count : {1, 2, 3}) {
      SCOPED_TRACE(std::string(name(other)) + ", threads: " + std::to_string(count));
      set_isa(other);
      set_num_threads(count);
      check();
    }
  set_isa(isa);
  set_num_threads(threads);
}

}  // namespace thimble::quant
