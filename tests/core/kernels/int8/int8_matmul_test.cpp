#include <algorithm>
#include <cmath>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <malloc.h>

#include "tests/core/kernels/at.h"
#include "tests/core/kernels/everywhere.h"
#include <thimble/core/kernels/int8/int8_matmul.h>
#include <thimble/core/kernels/scratch.h>

namespace thimble::kernels {
namespace {

// A random product whose operands lie by rows or by columns, with exactly as many bytes as they need, so that a
// sanitizer sees any read past them.
struct MatmulProblem {
  MatmulProblem(int64_t m, int64_t k, int64_t n, bool a_by_rows, bool b_by_rows, std::mt19937& rng) {
    const auto gap = [&] { return static_cast<int64_t>(rng() % 3); };
    const auto bytes = [&](int64_t rows, int64_t columns, bool by_rows, int64_t& row, int64_t& column) {
      const int64_t lines = by_rows ? rows : columns, length = by_rows ? columns : rows, distance = length + gap();
      row = by_rows ? distance : 1;
      column = by_rows ? 1 : distance;
      const bool is_empty = lines == 0 || length == 0;  // but no null pointer
      std::vector<uint8_t> x(at(is_empty ? lines * distance + 1 : (lines - 1) * distance + length));
      for (uint8_t& v : x) v = static_cast<uint8_t>(rng());
      return x;
    };
    a = bytes(m, k, a_by_rows, p.a_row, p.a_column);
    b = bytes(k, n, b_by_rows, p.b_row, p.b_column);
    p.m = m, p.k = k, p.n = n;
    p.a = a.data(), p.b = b.data();
    p.a_zero_point = rng() % 3 == 0 ? 0 : static_cast<int32_t>(rng() % 256);
    p.b_zero_point = rng() % 3 == 0 ? 128 : static_cast<int32_t>(rng() % 256);
    p.multiplier = static_cast<float>(0.01 / std::sqrt(static_cast<double>(k + 1)));
    p.high = rng() % 3 == 0 ? 31 : 255;
    p.zero_point = static_cast<int32_t>(rng()) & p.high;
    p.out_row = n + gap();
  }

  uint8_t expected(int64_t i, int64_t j) const {
    int64_t sum = 0;
    for (int64_t l = 0; l < p.k; ++l)
      sum += (int64_t{a[at(i * p.a_row + l * p.a_column)]} - p.a_zero_point) *
             (int64_t{b[at(l * p.b_row + j * p.b_column)]} - p.b_zero_point);
    const float v = std::nearbyint(static_cast<float>(sum) * p.multiplier) + static_cast<float>(p.zero_point);
    return static_cast<uint8_t>(std::clamp(v, 0.0f, static_cast<float>(p.high)));
  }

  std::vector<uint8_t> blank() const { return std::vector<uint8_t>(at(p.m * p.out_row + 1), uint8_t{77}); }
  std::vector<uint8_t> expected() const {
    std::vector<uint8_t> out = blank();
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < p.n; ++j) out[at(i * p.out_row + j)] = expected(i, j);
    return out;
  }

  // Rows are divided among threads.
  std::vector<uint8_t> computed(int64_t grain) const {
    std::vector<uint8_t> out = blank();
    parallel_for(p.m, grain, [&](int64_t begin, int64_t end) {
      Int8Matmul part = p;
      part.m = end - begin;
      part.a += begin * p.a_row;
      part.out = out.data() + begin * p.out_row;
      int8_matmul(part);
    });
    return out;
  }

  Int8Matmul p;
  std::vector<uint8_t> a, b;
};

TEST(Int8Matmul, EqualsTheSumsEverywhere) {
  std::mt19937 rng(1);
  for (const int64_t m : {1, 2, 5, 33})
    for (const int64_t k : {0, 1, 15, 16, 33, 64, 130})
      for (const int64_t n : {1, 3, 16, 17, 33}) {
        const bool a_by_rows = rng() % 2 == 0, b_by_rows = rng() % 2 == 0;
        const MatmulProblem problem(m, k, n, a_by_rows, b_by_rows, rng);
        const std::vector<uint8_t> expected = problem.expected();
        everywhere([&] {
          for (const int64_t grain : {int64_t{1}, int64_t{3}, m})
            EXPECT_EQ(problem.computed(grain), expected)
                << m << " x " << k << " x " << n << (a_by_rows ? ", rows" : ", columns") << " by "
                << (b_by_rows ? "rows" : "columns") << ", " << grain << " at once";
        });
      }
}

// Sums of more products than int32 surely holds, of which those of extremes leave it.
TEST(Int8Matmul, LongSumsAreExactEverywhere) {
  std::mt19937 rng(2);
  constexpr int64_t kMost = Int8Matmul::kMostInInt32;
  for (const int64_t k : {kMost, kMost + 1, 2 * kMost + 15})
    for (const bool by_rows : {true, false})
      for (const bool extreme : {false, true}) {
        MatmulProblem problem(3, k, 19, by_rows, !by_rows, rng);
        if (extreme) {
          std::ranges::fill(problem.a, uint8_t{255});
          std::ranges::fill(problem.b, uint8_t{0});
          problem.p.a_zero_point = 0;
          problem.p.b_zero_point = 255;
          problem.p.zero_point = 200;
          problem.p.high = 255;
          problem.p.multiplier = static_cast<float>(150.0 / (255.0 * 255.0 * static_cast<double>(k)));
        }
        const std::vector<uint8_t> expected = problem.expected();
        if (extreme) {
          EXPECT_EQ(expected[0], 50);
        }
        everywhere([&] {
          for (const int64_t grain : {1, 3}) EXPECT_EQ(problem.computed(grain), expected) << k << ", " << extreme;
        });
      }
}

// Tiles of rows and columns.
TEST(Int8Matmul, LongSumsOfManyRowsAndColumns) {
  std::mt19937 rng(3);
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{515, 2}, {2, 515}}) {
    const MatmulProblem problem(m, Int8Matmul::kMostInInt32 + 1, n, true, false, rng);
    EXPECT_EQ(problem.computed(m), problem.expected()) << m << " x " << n;
  }
}

size_t scratch_bytes_of_this_thread() {
  size_t bytes = 0;
  for (int use = 0; use < static_cast<int>(ScratchUse::count); ++use)
    bytes += malloc_usable_size(thread_scratch(static_cast<ScratchUse>(use), 0));
  return bytes;
}

TEST(Int8Matmul, LongSumsTakeLittleScratchMemory) {
  constexpr int64_t kRows = 16, kColumns = 10'000;
  // All rows and columns are the same.
  const std::vector<uint8_t> ones(at(Int8Matmul::kMostInInt32 + 1), uint8_t{1});
  std::vector<uint8_t> out(at(kRows * kColumns));
  Int8Matmul p{.m = kRows, .n = kColumns, .k = std::ssize(ones), .a = ones.data(), .b = ones.data()};
  p.b_row = 1, p.b_column = 0;
  p.multiplier = 1.0f / 512;
  p.out = out.data(), p.out_row = kColumns;
  size_t bytes = 0;
  std::thread([&] {
    int8_matmul(p);
    bytes = scratch_bytes_of_this_thread();
  }).join();
  EXPECT_EQ(std::ranges::count(out, uint8_t{65}), std::ssize(out));  // 33026 / 512 = 64.5
  EXPECT_LT(bytes, size_t{5} << 18);
}

}  // namespace
}  // namespace thimble::kernels
