// softmax, layer normalization and means of quantized integers, beside what their headers say, written as loops.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/kernels/at.h"
#include "tests/core/kernels/everywhere.h"
#include <thimble/core/kernels/int8/quantized_layer_norm.h>
#include <thimble/core/kernels/int8/quantized_mean.h>
#include <thimble/core/kernels/int8/quantized_softmax.h>

namespace thimble::kernels {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr int64_t kLengths[] = {1, 15, 16, 17, 33, 65, 300};
// One, and as many as are worth several threads.
constexpr int64_t kRowCounts[] = {1, 3, 2000};

Bytes random_row_bytes(int64_t n, std::mt19937& rng) {
  Bytes bytes(at(n));
  for (uint8_t& v : bytes) v = static_cast<uint8_t>(rng());
  return bytes;
}

uint8_t rounded_byte(float v, int32_t zero_point, int32_t high) {
  return static_cast<uint8_t>(
      std::clamp(std::nearbyint(v) + static_cast<float>(zero_point), 0.0f, static_cast<float>(high)));
}

Bytes softmax_rows(const Bytes& x, int64_t n, double scale, float output_scale, int32_t zero_point, int32_t high) {
  Bytes out;
  for (auto row = x.begin(); row != x.end(); row += n) {
    const int largest = *std::max_element(row, row + n);
    std::vector<int64_t> terms;
    for (auto q = row; q != row + n; ++q) {
      const int below = largest - *q;
      const auto coarse = static_cast<float>((1 << 22) * std::exp(-(below / 16 * 16) * scale));
      const auto fine = static_cast<float>(std::exp(-(below % 16) * scale));
      terms.push_back(std::llrint(coarse * fine));
    }
    const auto sum = static_cast<double>(std::accumulate(terms.begin(), terms.end(), int64_t{0}));
    const auto multiplier = static_cast<float>(1 / (sum * double{output_scale}));
    for (const int64_t term : terms)
      out.push_back(rounded_byte(static_cast<float>(term) * multiplier, zero_point, high));
  }
  return out;
}

TEST(QuantizedRows, SoftmaxIsTheSameEverywhere) {
  std::mt19937 rng(1);
  for (const int64_t n : kLengths)
    for (const int64_t rows : kRowCounts)
      for (const float scale : {0.01f, 0.2f}) {
        const float output_scale = scale > 0.1f ? 1 / 255.0f : 0.002f;
        const int32_t zero_point = scale > 0.1f ? 0 : 7, high = scale > 0.1f ? 255 : 127;
        const Bytes x = random_row_bytes(rows * n, rng);
        const Bytes expected = softmax_rows(x, n, double{scale}, output_scale, zero_point, high);
        const QuantizedSoftmaxTable table(scale, output_scale, zero_point, high);
        everywhere([&] {
          Bytes out(x.size());
          quantized_softmax(x.data(), rows, n, table, out.data());
          EXPECT_EQ(out, expected) << rows << " rows of " << n;
          Bytes in_place = x;
          quantized_softmax(in_place.data(), rows, n, table, in_place.data());
          EXPECT_EQ(in_place, expected) << rows << " rows of " << n << ", in place";
        });
      }
}

Bytes normalized_rows(const Bytes& x, int64_t n, const QuantizedLayerNormArgs& args) {
  Bytes out;
  const auto count = static_cast<double>(n), scale = double{args.scale};
  for (auto row = x.begin(); row != x.end(); row += n) {
    int64_t sum = 0, squares = 0;
    for (auto q = row; q != row + n; ++q) {
      sum += *q;
      squares += int64_t{*q} * *q;
    }
    const double variance = static_cast<double>(n * squares - sum * sum) / (count * count);
    const auto r = static_cast<float>(scale / std::sqrt(variance * scale * scale + args.eps));
    const auto offset = static_cast<float>(-(static_cast<double>(sum) / count * double{r}));
    for (int64_t i = 0; i < n; ++i) {
      const float scaled = static_cast<float>(row[i]) * r;
      const float weighted = (scaled + offset) * args.weight[i];
      out.push_back(rounded_byte(std::clamp(weighted + args.bias[i], -1e6f, 1e6f), args.zero_point, args.high));
    }
  }
  return out;
}

TEST(QuantizedRows, LayerNormIsTheSameEverywhere) {
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  for (const int64_t n : kLengths)
    for (const int64_t rows : kRowCounts)
      for (const float scale : {1e-4f, 0.04f}) {
        std::vector<float> weight(at(n)), bias(at(n));
        for (float& v : weight) v = normal(rng) * 40;
        for (float& v : bias) v = normal(rng) * 20;
        const QuantizedLayerNormArgs args{.scale = scale,
                                          .eps = 1e-5,
                                          .weight = weight.data(),
                                          .bias = bias.data(),
                                          .zero_point = 120,
                                          .high = scale > 0.01f ? 255 : 200};
        const Bytes x = random_row_bytes(rows * n, rng), expected = normalized_rows(x, n, args);
        everywhere([&] {
          Bytes out(x.size());
          quantized_layer_norm(x.data(), rows, n, args, out.data());
          EXPECT_EQ(out, expected) << rows << " rows of " << n;
        });
      }
}

Bytes means_of(const Bytes& x, int64_t outer, int64_t n, int64_t inner, const QuantizedMeanArgs& args) {
  Bytes out;
  const auto scale = static_cast<float>(double{args.scale} / (double{args.output_scale} * static_cast<double>(n)));
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      int64_t sum = 0;
      for (int64_t l = 0; l < n; ++l) sum += int64_t{x[at((o * n + l) * inner + i)]} - args.x_zero_point;
      out.push_back(rounded_byte(static_cast<float>(sum) * scale, args.zero_point, args.high));
    }
  return out;
}

TEST(QuantizedRows, MeanIsTheSameEverywhere) {
  std::mt19937 rng(3);
  for (const int64_t outer : {1, 7})
    for (const int64_t n : {1, 2, 15, 33, 700})
      for (const int64_t inner : {1, 3, 15, 16, 17, 63, 65, 130}) {
        const QuantizedMeanArgs args{.scale = 0.04f,
                                     .x_zero_point = static_cast<int32_t>(rng() % 256),
                                     .output_scale = 0.01f,
                                     .zero_point = 100,
                                     .high = rng() % 2 == 0 ? 255 : 127};
        const Bytes x = random_row_bytes(outer * n * inner, rng), expected = means_of(x, outer, n, inner, args);
        everywhere([&] {
          Bytes out(expected.size());
          quantized_mean(x.data(), outer, n, inner, args, out.data());
          EXPECT_EQ(out, expected) << outer << " x " << n << " x " << inner;
        });
      }
}

// Sums that leave 32 bits, of one row of elements and of pixels beside each other.
TEST(QuantizedRows, MeansOfAnyNumberAreExact) {
  constexpr int64_t kMany = (int64_t{5} << 22) + 5;
  const QuantizedMeanArgs args{.scale = 1, .x_zero_point = 10, .output_scale = 1, .zero_point = 3, .high = 255};
  for (const int64_t inner : {1, 3}) {
    Bytes x(at(kMany * inner), uint8_t{255}), out(at(inner));
    std::fill_n(x.end() - kMany * inner / 2, kMany * inner / 2, uint8_t{155});
    everywhere([&] {
      quantized_mean(x.data(), 1, kMany, inner, args, out.data());
      EXPECT_EQ(out, Bytes(at(inner), uint8_t{198})) << inner;
    });
  }
}

}  // namespace
}  // namespace thimble::kernels
