#include <algorithm>
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
