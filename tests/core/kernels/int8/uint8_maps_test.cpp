#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/kernels/everywhere.h"
#include <thimble/core/kernels/int8/uint8_kernels.h>
#include <thimble/core/kernels/int8/uint8_maps.h>

namespace thimble::kernels {
namespace {

std::vector<uint8_t> any_bytes(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<uint8_t> bytes(n);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng());
  return bytes;
}

// Each in place, too; the byte behind the last stays.
template <typename Map, typename Expected>
void expect_mapped(Map&& map, Expected&& expected) {
  everywhere([&] {
    for (const size_t n : {0u, 1u, 5u, 31u, 32u, 33u, 63u, 64u, 65u, 127u, 128u, 1000u, 300001u}) {
      const std::vector<uint8_t> x = any_bytes(n + 1, static_cast<uint32_t>(n));
      std::vector<uint8_t> out(n + 1, 77), in_place = x, wanted = x;
      std::transform(x.begin(), x.end() - 1, wanted.begin(), expected);
      map(x.data(), static_cast<int64_t>(n), out.data());
      EXPECT_EQ(out.back(), 77);
      out.back() = wanted.back();
      ASSERT_EQ(out, wanted) << n;
      map(in_place.data(), static_cast<int64_t>(n), in_place.data());
      ASSERT_EQ(in_place, wanted) << n;
    }
  });
}

TEST(Uint8Maps, LookUpsAreThoseOfTheTable) {
  for (uint32_t seed = 0; seed < 3; ++seed) {
    const std::vector<uint8_t> table = any_bytes(256, 100 + seed);
    expect_mapped([&](const uint8_t* x, int64_t n, uint8_t* out) { look_up(x, n, table.data(), out); },
                  [&](uint8_t v) { return table[v]; });
  }
}

TEST(Uint8Maps, ClampsStayWithinTheirBounds) {
  expect_mapped([](const uint8_t* x, int64_t n, uint8_t* out) { clamp(x, n, 20, 200, out); },
                [](uint8_t v) { return std::clamp<uint8_t>(v, 20, 200); });
}

uint8_t quantized(float v, int32_t zero_point, int32_t low, int32_t high) {
  const auto least = static_cast<float>(low - zero_point), most = static_cast<float>(high - zero_point);
  if (!(v > least)) return static_cast<uint8_t>(low);  // NaN, too
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(std::min(v, most))) + zero_point);
}

// Scales from those that give ties to those whose results overflow.
TEST(Uint8Maps, SumsDifferencesExtremesAndProductsFollowTheirDefinition) {
  constexpr float kScales[] = {0.5f, 0.25f, 0.013f, 1.7f, 3e-6f, 1e5f, 1e8f, 3e38f};
  for (uint32_t trial = 0; trial < 64; ++trial) {
    const size_t n = std::array{0u, 1u, 31u, 32u, 64u, 100u, 259u, 70001u}[trial / 8];
    const float scale = kScales[trial % 8], other = kScales[(trial * 5 + trial / 8) % 8];
    const std::vector<uint8_t> a = any_bytes(n, trial), b = any_bytes(n, 100 + trial), numbers = any_bytes(5, trial);
    const int32_t low = std::min(numbers[3], numbers[4]), high = std::max(numbers[3], numbers[4]);
    const int32_t zero_point = std::clamp<int32_t>(numbers[2], low, high);
    const QuantizedAddArgs add{scale, other, numbers[0], numbers[1], zero_point, low, high};
    const QuantizedAddArgs sub{scale, -other, numbers[0], numbers[1], zero_point, low, high};
    const QuantizedMulArgs mul{scale, numbers[0], numbers[1], zero_point, low, high};
    std::vector<uint8_t> sums(n), differences(n), larger(n), smaller(n), products(n);
    for (size_t i = 0; i < n; ++i) {
      const auto x = static_cast<float>(a[i] - numbers[0]), y = static_cast<float>(b[i] - numbers[1]);
      const float from_a = x * scale, from_b = y * other;
      sums[i] = quantized(from_a + from_b, zero_point, low, high);
      differences[i] = quantized(from_a - from_b, zero_point, low, high);
      larger[i] = quantized(std::max(from_a, from_b), zero_point, low, high);
      smaller[i] = quantized(std::min(from_a, from_b), zero_point, low, high);
      products[i] = quantized(x * y * scale, zero_point, low, high);
    }
    SCOPED_TRACE(str(n, " elements, scales ", scale, " and ", other));
    everywhere([&] {
      std::vector<uint8_t> out(n), in_place = a, of_itself = b;
      quantized_add(a.data(), b.data(), static_cast<int64_t>(n), add, out.data());
      EXPECT_EQ(out, sums);
      quantized_add(in_place.data(), b.data(), static_cast<int64_t>(n), add, in_place.data());
      EXPECT_EQ(in_place, sums);
      quantized_add(a.data(), b.data(), static_cast<int64_t>(n), sub, out.data());
      EXPECT_EQ(out, differences);
      quantized_maximum(a.data(), b.data(), static_cast<int64_t>(n), add, out.data());
      EXPECT_EQ(out, larger);
      quantized_minimum(a.data(), b.data(), static_cast<int64_t>(n), add, out.data());
      EXPECT_EQ(out, smaller);
      quantized_mul(a.data(), of_itself.data(), static_cast<int64_t>(n), mul, of_itself.data());
      EXPECT_EQ(of_itself, products);
    });
    if (HasFailure()) break;
  }
}

TEST(Uint8Maps, MeansAreRoundedHalfToEven) {
  everywhere([] {
    for (const int64_t channels : {1, 9, 16, 31, 32, 50, 64, 100, 130})
      for (const auto& [rows, columns] : {std::pair(1, 1), std::pair(1, 2), std::pair(2, 2), std::pair(3, 7),
                                          std::pair(64, 128), std::pair(1, 1021)}) {
        const std::vector<uint8_t> image = any_bytes(static_cast<size_t>(rows * columns * channels), 5);
        std::vector<uint8_t> means(static_cast<size_t>(channels) + 1, 77), expected = means;
        for (int64_t c = 0; c < channels; ++c) {
          int64_t sum = 0;
          for (int64_t i = 0; i < rows * columns; ++i) sum += image[static_cast<size_t>(i * channels + c)];
          expected[static_cast<size_t>(c)] = static_cast<uint8_t>(std::nearbyint(double(sum) / (rows * columns)));
        }
        uint8_kernels().mean_pixels({image.data(), rows, columns, columns * channels, channels}, channels,
                                    means.data());
        ASSERT_EQ(means, expected) << channels << " channels, " << rows << " x " << columns;
      }
  });
}

// Windows of an image with more channels than are summed, of more pixels than 16 bits hold the sums of.
TEST(Uint8Maps, SumsOfPixels) {
  everywhere([] {
    for (const int64_t channels : {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129})
      for (const auto& [rows, columns] : {std::pair(0, 0), std::pair(1, 1), std::pair(3, 2), std::pair(2, 1030)}) {
        const int64_t pixel = channels + 3, line = (columns + 2) * pixel;
        std::vector<uint8_t> image(static_cast<size_t>(rows * line + 1), 255);
        for (size_t i = 0; i < image.size() && columns < 1000; ++i) image[i] = static_cast<uint8_t>(i * 37);
        std::vector<uint32_t> sums(static_cast<size_t>(channels) + 1, 77), expected(sums);
        for (int64_t c = 0; c < channels; ++c) {
          uint32_t& sum = expected[static_cast<size_t>(c)] = 0;
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < columns; ++j) sum += image[static_cast<size_t>(i * line + j * pixel + c)];
        }
        uint8_kernels().sum_pixels({image.data(), rows, columns, line, pixel}, channels, sums.data());
        ASSERT_EQ(sums, expected) << channels << " channels, " << rows << " x " << columns;
      }
  });
}

}  // namespace
}  // namespace thimble::kernels
