#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include <thimble/core/error.h>
#include <thimble/quant/observers/histogram.h>

namespace thimble::quant {
namespace {

void add(Histogram& h, const std::vector<float>& values) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  h.add(NDArray::from_vector(values), *min, *max);
}

Histogram counted(const std::vector<float>& values) {
  Histogram h;
  add(h, values);
  return h;
}

void expect_equal(const Histogram& a, const Histogram& b) {
  EXPECT_EQ(a.min(), b.min());
  EXPECT_EQ(a.max(), b.max());
  EXPECT_EQ(a.grid().exponent, b.grid().exponent);
  EXPECT_EQ(a.grid().first, b.grid().first);
  EXPECT_EQ(a.counts().to_vector<int64_t>(), b.counts().to_vector<int64_t>());
}

// Values of many magnitudes.
std::vector<float> random_values(std::mt19937& rng, size_t n) {
  std::normal_distribution<float> normal;
  const float scale = std::ldexp(1.0f, static_cast<int>(rng() % 60) - 30);
  std::vector<float> values(n);
  for (float& v : values) v = scale * normal(rng) * (rng() % 50 == 0 ? 100.0f : 1.0f);
  if (rng() % 3 == 0)
    for (float& v : values) v = std::max(v, 0.0f);
  if (rng() % 5 == 0)
    for (float& v : values) v = -std::abs(v);
  return values;
}

TEST(BinGrid, HoldsTheRangeAndZeroFinely) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 2000; ++trial) {
    const std::vector<float> ends = random_values(rng, 2);
    const float min = std::min(ends[0], ends[1]), max = std::max(ends[0], ends[1]);
    const BinGrid grid = BinGrid::covering(min, max);
    EXPECT_LE(grid.bins, BinGrid::kMaxBins);
    EXPECT_LE(grid.edge(0), std::min(min, 0.0f));
    EXPECT_GT(grid.edge(grid.bins), std::max(max, 0.0f));
    EXPECT_EQ(grid.edge(grid.bins_below_zero()), 0);
    EXPECT_EQ(grid.bin_of(std::min(min, 0.0f)), 0);
    EXPECT_EQ(grid.bin_of(std::max(max, 0.0f)), grid.bins - 1);
    EXPECT_GE(grid.bins, min == 0 && max == 0 ? 1 : BinGrid::kMaxBins / 2 + 1);
  }
}

TEST(BinGrid, HoldsTheLargestAndTheSmallestFloats) {
  constexpr float kMax = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::denorm_min();
  for (const auto& [min, max] : std::vector<std::pair<float, float>>{
           {-kMax, kMax}, {0, kMax}, {-kMax, 0}, {0, 0}, {-kTiny, kTiny}, {kTiny, kTiny}, {-kTiny, kMax}}) {
    const BinGrid grid = BinGrid::covering(min, max);
    EXPECT_LE(grid.bins, BinGrid::kMaxBins);
    EXPECT_LE(grid.edge(0), min);
    EXPECT_GT(grid.edge(grid.bins), max);
    Histogram h;
    add(h, {min, max});
    EXPECT_EQ(h.total(), 2);
    EXPECT_GE(h.count(grid.bin_of(min)), 1);
    EXPECT_GE(h.count(grid.bin_of(max)), 1);
  }
}

TEST(Histogram, CountsEachValueInItsBin) {
  std::mt19937 rng(2);
  for (const size_t n : {size_t{1}, size_t{255}, size_t{1000}, size_t{300000}}) {
    const std::vector<float> values = random_values(rng, n);
    const Histogram h = counted(values);
    const BinGrid& grid = h.grid();
    std::vector<int64_t> expected(BinGrid::kMaxBins);
    for (const float v : values) {
      const int64_t bin = grid.bin_of(v);
      ASSERT_LE(grid.edge(bin), v);
      ASSERT_GT(grid.edge(bin + 1), v);
      ++expected[static_cast<size_t>(bin)];
    }
    EXPECT_EQ(h.counts().to_vector<int64_t>(), expected);
    EXPECT_EQ(h.total(), static_cast<int64_t>(n));
  }
}

TEST(Histogram, DependsOnTheValuesAloneNotOnTheirBatches) {
  std::mt19937 rng(3);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<std::vector<float>> batches(1 + rng() % 6);
    std::vector<float> all;
    for (auto& batch : batches) {
      batch = rng() % 8 == 0 ? std::vector<float>(3, 0.0f) : random_values(rng, 1 + rng() % 200);
      all.insert(all.end(), batch.begin(), batch.end());
    }
    Histogram forth, back;
    for (const auto& batch : batches) add(forth, batch);
    std::reverse(batches.begin(), batches.end());
    for (const auto& batch : batches) add(back, batch);
    expect_equal(forth, counted(all));
    expect_equal(back, counted(all));
  }
}

TEST(Histogram, TakesStridedValues) {
  const NDArray x = NDArray::from_vector<float>({1, -5, 2, 9, 3, 4}, {3, 2});
  Histogram h;
  h.add(x.slice(1, 0, 1), 1, 3);
  expect_equal(h, counted({1, 2, 3}));
}

TEST(Histogram, ContinuesFromWhatWasSaved) {
  Histogram h = counted({-1, 2});
  Histogram loaded(h.min(), h.max(), h.counts().clone());
  add(h, {5});
  add(loaded, {5});
  expect_equal(h, loaded);
}

TEST(Histogram, RefusesWhatCannotBeOne) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  const NDArray counts = NDArray::zeros({BinGrid::kMaxBins}, DType::int64);
  EXPECT_TRUE(Histogram(kInf, -kInf, counts).empty());
  for (const auto& [min, max] :
       std::vector<std::pair<float, float>>{{kNan, 1}, {1, kNan}, {0, kInf}, {-kInf, 0}, {2, 1}, {-kInf, kInf}})
    EXPECT_THROW(Histogram(min, max, counts), ValueError) << min << ' ' << max;
  EXPECT_THROW(Histogram(0, 1, NDArray::zeros({5}, DType::int64)), ShapeError);
}

}  // namespace
}  // namespace thimble::quant
