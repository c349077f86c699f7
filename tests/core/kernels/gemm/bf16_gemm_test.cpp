#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/core/kernels/at.h"
#include "tests/core/kernels/everywhere.h"
#include "tests/core/ops/up_to.h"
#include <thimble/core/bfloat16.h>
#include <thimble/core/kernels/gemm/bf16_gemm.h>
#include <thimble/core/kernels/gemm/bf16_order.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

TEST(Bf16Order, IsAFusedMultiplyAddWithoutDenormals) {
  Generator rng(1);
  const auto operand = [&] {
    const float value = static_cast<float>(bfloat16(randn({1}, rng).item<float>()));
    return std::ldexp(value, static_cast<int>(rng.below(60)) - 30);
  };
  for (int i = 0; i < 10000; ++i) {
    const float a = operand(), b = operand(), c = randn({1}, rng).item<float>() * operand();
    EXPECT_EQ(bf16_multiply_add(a, b, c), std::fma(a, b, c)) << a << ' ' << b << ' ' << c;
  }
  constexpr float kNormal = std::numeric_limits<float>::min(), kDenormal = kNormal / 2;
  EXPECT_EQ(bf16_multiply_add(kDenormal, 0x1p60f, 1), 1) << "a denormal operand is 0";
  EXPECT_EQ(bf16_multiply_add(1, 1, kDenormal), 1);
  EXPECT_EQ(bf16_multiply_add(0x1p-70f, 0x1p-70f, 0), 0) << "a denormal result is 0";
  EXPECT_TRUE(std::signbit(bf16_multiply_add(0x1p-70f, -0x1p-70f, 0))) << "of its sign";
  EXPECT_EQ(bf16_add(kNormal, -1.5f * kNormal), 0);
  EXPECT_EQ(bf16_add(2 * kNormal, -kNormal), kNormal);
  // 2^-126 less a quarter of the distance of denormals: that of numbers of 24 digits there is twice as fine.
  EXPECT_EQ(rounded_to_normal(0x1p-126 - 0x1p-151), kNormal) << "a tie of 24 digits goes up";
  EXPECT_EQ(rounded_to_normal(0x1p-126 - 0x1p-150), 0) << "24 digits suffice for it: it is denormal";
}

// Numbers of bfloat16, or of float32 to be rounded, some of which meet what is special: zeros of both signs, products
// that are denormal, denormal operands.
struct HalfMatrix {
  std::vector<float> wide;
  std::vector<bfloat16> half;
  Bf16Matrix view;

  HalfMatrix(int64_t rows, int64_t cols, bool transposed, bool is_float32, int64_t gap, Generator& rng) {
    const int64_t length = (transposed ? rows : cols) + gap, count = length * (transposed ? cols : rows);
    for (int64_t i = 0; i < count; ++i) {
      float value = randn({1}, rng).item<float>();
      const uint64_t kind = rng.below(8);
      if (kind == 0) value *= 1e-20f;
      if (kind == 1) value = -0.0f;
      if (kind == 2) value *= 1e-39f;
      wide.push_back(value);
      half.emplace_back(value);
    }
    view = {is_float32 ? static_cast<const void*>(wide.data()) : half.data(),
            is_float32,
            rows,
            cols,
            transposed ? 1 : length,
            transposed ? length : 1};
  }
  float at(int64_t i, int64_t j) const {
    return static_cast<float>(half[kernels::at(i * view.row_stride + j * view.col_stride)]);
  }
};

uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }

TEST(Bf16Gemm, AddsProductsInItsOrderOnEveryInstructionSet) {
  Generator rng(2);
  struct Sizes {
    int64_t m, n, k;
  };
  std::vector<Sizes> all = {{1, 1, 1}, {2, 3, 0}, {300, 17, 40}, {7, 33, 1030}, {65, 90, 577}, {3, 5, 32}};
  for (int i = 0; i < 30; ++i) all.push_back({up_to(20, rng), up_to(80, rng), up_to(100, rng)});
  for (const auto& [m, n, k] : all) {
    const HalfMatrix a(m, k, rng.below(2) == 1, rng.below(4) == 0, up_to(3, rng) - 1, rng);
    const HalfMatrix b(k, n, rng.below(2) == 1, rng.below(2) == 1, up_to(3, rng) - 1, rng);
    std::vector<float> bias, expected;
    for (int64_t j = 0; j < n; ++j) bias.push_back(randn({1}, rng).item<float>());
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j)
        expected.push_back(bf16_sum_of_products(
            k, [&](int64_t p) { return a.at(i, p); }, [&](int64_t p) { return b.at(p, j); }));
    everywhere([&, m = m, n = n, k = k] {
      SCOPED_TRACE(str(m, 'x', n, 'x', k));
      std::vector<float> sums(at(m * n), -7);
      std::vector<bfloat16> rounded(at(m * n));
      bf16_gemm(a.view, b.view, {sums.data(), true});
      bf16_gemm(a.view, b.view, {rounded.data(), false, bias.data()});
      for (int64_t i = 0; i < m * n; ++i) {
        ASSERT_EQ(bits_of(sums[at(i)]), bits_of(expected[at(i)])) << "element " << i;
        ASSERT_EQ(rounded[at(i)].bits, bfloat16(expected[at(i)] + bias[at(i % n)]).bits) << "element " << i;
      }
    });
  }
}

TEST(Bf16Gemm, RowsDoNotDependOnTheOthers) {
  Generator rng(3);
  const int64_t m = 400, n = 70, k = 650;
  const HalfMatrix a(m, k, false, false, 0, rng), b(k, n, true, true, 0, rng);
  std::vector<float> all(at(m * n)), some(at(m * n));
  bf16_gemm(a.view, b.view, {all.data(), true});
  for (int64_t row = 0, count = 1; row < m; row += count, count = count * 2 % 90 + 1) {
    count = std::min(count, m - row);
    bf16_gemm(a.view.part(row, count, 0, k), b.view, {some.data() + row * n, true}, row % 2 == 0);
  }
  EXPECT_EQ(all, some);
}

TEST(Bf16Gemm, SumsOverABatchAreATreeOfShards) {
  Generator rng(4);
  for (const int64_t samples : {0, 1, 3, 8, 13, 64, 100, 512, 600, 1500}) {
    const int64_t m = up_to(20, rng), n = up_to(150, rng);
    const HalfMatrix left(samples, m, false, false, 1, rng), right(samples, n, false, false, 0, rng);
    const Shards shards(samples);
    std::vector<float> expected;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        float sums[Shards::kLevels] = {};
        if (samples > 0)
          shards.add_up(
              [&](int64_t shard, int level) {
                const int64_t first = shards.begin(shard);
                sums[level] = bf16_sum_of_products(
                    shards.end(shard) - first, [&](int64_t p) { return left.at(first + p, i); },
                    [&](int64_t p) { return right.at(first + p, j); });
              },
              [&](int level) { sums[level] += sums[level + 1]; });
        expected.push_back(sums[0]);
      }
    everywhere([&] {
      std::vector<float> c(at(m * n), -7);
      bf16_sum_over_batch(left.view, right.view, c.data());
      EXPECT_EQ(c, expected) << samples << " samples, " << m << 'x' << n;
    });
  }
}

TEST(Bf16Gemm, KeepsInfinitiesAndNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> a = {kInfinity, 1, 0, 1, 3e38f, 3e38f}, b = {1, 1};
  everywhere([&] {
    std::vector<float> c(3);
    bf16_gemm({a.data(), true, 3, 2, 2, 1}, {b.data(), true, 2, 1, 1, 1}, {c.data(), true});
    EXPECT_EQ(c, (std::vector<float>{kInfinity, 1, kInfinity}));
    const std::vector<float> zeros = {0, 0};
    bf16_gemm({a.data(), true, 3, 2, 2, 1}, {zeros.data(), true, 2, 1, 1, 1}, {c.data(), true});
    EXPECT_TRUE(std::isnan(c[0]));
    EXPECT_EQ(c[1], 0);
  });
}

}  // namespace
}  // namespace thimble::kernels
