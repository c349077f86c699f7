#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/random.h>

namespace thimble {
namespace {

std::vector<uint32_t> words(Generator& generator, int n) {
  std::vector<uint32_t> result;
  for (int i = 0; i < n; ++i) result.push_back(generator.next_uint32());
  return result;
}

TEST(Random, IsPhilox4x32WithTenRounds) {
  // The known answer for key 0 and counter 0, from the Random123 library's kat_vectors.
  Generator generator(0);
  EXPECT_EQ(words(generator, 4), (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
}

TEST(Random, FillGivesTheNumbersOfSingleCalls) {
  for (uint64_t start : {0u, 1u, 3u, 4u, 61u})
    for (int64_t n : {0, 1, 2, 5, 63, 64, 67, 128, 300}) {
      Generator one(start * 7), many(start * 7);
      // Far enough that block numbers carry into their upper word.
      one.set_state({start * 7, (uint64_t{1} << 34) - 100 + start});
      many.set_state(one.state());
      one.next_uint32();
      many.next_uint32();
      std::vector<uint32_t> expected(static_cast<size_t>(n)), got(static_cast<size_t>(n));
      for (uint32_t& word : expected) word = one.next_uint32();
      many.fill(got.data(), n);
      EXPECT_EQ(got, expected) << n << " from " << start;
      EXPECT_EQ(many.state(), one.state());
      EXPECT_EQ(many.next_uint32(), one.next_uint32());
    }
}

TEST(Random, SameSeedSameNumbersOtherSeedOthers) {
  Generator a(5), b(5), c(6);
  const auto numbers = words(a, 100);
  EXPECT_EQ(words(b, 100), numbers);
  EXPECT_NE(words(c, 100), numbers);
  Generator high(uint64_t{5} << 32);
  EXPECT_NE(words(high, 100), numbers);
}

TEST(Random, StateRestoresAnyPosition) {
  Generator generator(3);
  for (int skip : {0, 1, 2, 3, 4, 5, 11}) {
    words(generator, skip);
    const Generator::State state = generator.state();
    const auto numbers = words(generator, 10);
    Generator other(99);
    words(other, 2);
    other.set_state(state);
    EXPECT_EQ(words(other, 10), numbers) << "after " << skip;
    EXPECT_EQ(other.state(), generator.state());
  }
}

TEST(Random, CopiesGoOnIndependently) {
  Generator a(1);
  words(a, 3);
  Generator b = a;
  const auto numbers = words(a, 20);
  EXPECT_EQ(words(b, 20), numbers);
}

TEST(Random, SplitStreamsDifferAndLeaveTheParentAlone) {
  Generator parent(7);
  const Generator::State before = parent.state();
  std::set<std::vector<uint32_t>> streams;
  for (uint64_t s = 0; s < 100; ++s) {
    Generator child = parent.split(s);
    streams.insert(words(child, 4));
  }
  EXPECT_EQ(parent.state(), before);
  streams.insert(words(parent, 4));
  EXPECT_EQ(streams.size(), 101u);
  Generator again = Generator(7).split(42), moved = parent.split(42);
  EXPECT_EQ(words(again, 4), words(moved, 4));
}

TEST(Random, UniformNumbersFillTheUnitIntervalEvenly) {
  Generator generator(11);
  constexpr int n = 100000, bins = 20;
  std::vector<int> counts(bins, 0);
  for (int i = 0; i < n; ++i) {
    const double u = generator.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ++counts[static_cast<size_t>(u * bins)];
  }
  // A bin's standard deviation is about 69.
  for (int count : counts) EXPECT_NEAR(count, n / bins, 400);
}

TEST(Random, NormalNumbersHaveTheNormalMoments) {
  Generator generator(12);
  constexpr int n = 100000;
  double sum = 0, squares = 0, cubes = 0, fourths = 0;
  for (int i = 0; i < n; ++i) {
    const double x = generator.normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x, squares += x * x, cubes += x * x * x, fourths += x * x * x * x;
  }
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(squares / n, 1, 0.03);
  EXPECT_NEAR(cubes / n, 0, 0.06);
  EXPECT_NEAR(fourths / n, 3, 0.2);
}

TEST(Random, BelowIsEvenAndInRange) {
  Generator generator(13);
  for (uint64_t n : {1, 2, 3, 7, 10}) {
    std::vector<int> counts(n, 0);
    for (int i = 0; i < 10000; ++i) ++counts.at(generator.below(n));
    for (int count : counts) EXPECT_NEAR(count, 10000.0 / static_cast<double>(n), 400) << n;
  }
  EXPECT_LT(generator.below(UINT64_MAX), UINT64_MAX);
  EXPECT_THROW(generator.below(0), ValueError);
}

TEST(Random, PermutationsHoldEveryIndexOnceAndMoveThem) {
  Generator generator(14);
  for (int64_t n : {0, 1, 2, 100}) {
    auto order = generator.permutation(n);
    std::vector<int64_t> sorted(static_cast<size_t>(n));
    std::iota(sorted.begin(), sorted.end(), 0);
    if (n == 100) {
      EXPECT_NE(order, sorted);
    }
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, sorted);
  }
}

TEST(Random, EveryPermutationIsAsLikely) {
  Generator generator(15);
  std::map<std::vector<int64_t>, int> counts;
  for (int i = 0; i < 12000; ++i) ++counts[generator.permutation(3)];
  EXPECT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 2000, 250);
}

TEST(Random, ArraysAreDrawnInOrder) {
  Generator a(16), b(16);
  const NDArray uniform = rand({2, 3}, a, DType::float64);
  for (double x : uniform.to_vector<double>()) EXPECT_EQ(x, b.uniform());
  const NDArray normal = randn({5}, a);
  EXPECT_EQ(normal.dtype(), DType::float32);
  for (float x : normal.to_vector<float>()) EXPECT_EQ(x, static_cast<float>(b.normal()));
  EXPECT_EQ(rand({0, 4}, a).shape(), (Shape{0, 4}));
  EXPECT_EQ(a.state(), b.state());
  EXPECT_THROW(rand({2}, a, DType::int8), DTypeError);
}

TEST(Random, ManualSeedStartsThisThreadsGeneratorAnew) {
  manual_seed(17);
  const auto numbers = words(default_generator(), 8);
  std::thread([] {
    manual_seed(1);
    words(default_generator(), 3);
  }).join();
  manual_seed(17);
  EXPECT_EQ(words(default_generator(), 8), numbers);
  manual_seed(0);
}

}  // namespace
}  // namespace thimble
