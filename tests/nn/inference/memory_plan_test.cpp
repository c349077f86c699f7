#include <gtest/gtest.h>

#include <thimble/core/random.h>
#include <thimble/nn/inference/memory_plan.h>

namespace thimble::nn {
namespace {

void expect_sound(const MemoryPlan& plan, const std::vector<Lifetime>& values) {
  ASSERT_EQ(plan.offsets.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(plan.offsets[i] % 64, 0);
    ASSERT_LE(plan.offsets[i] + values[i].bytes, plan.bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool together = values[i].first <= values[j].last && values[j].first <= values[i].last;
      const bool apart =
          plan.offsets[i] + values[i].bytes <= plan.offsets[j] || plan.offsets[j] + values[j].bytes <= plan.offsets[i];
      ASSERT_TRUE(!together || apart) << "values " << i << " and " << j;
    }
  }
}

TEST(MemoryPlan, ValuesThatLiveAtTheSameTimeDoNotOverlap) {
  Generator rng(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<Lifetime> values(rng.below(20));
    for (Lifetime& v : values) {
      v.bytes = static_cast<int64_t>(rng.below(1000));
      v.first = rng.below(10);
      v.last = v.first + rng.below(round % 2 ? 5 : 100);
    }
    expect_sound(plan_memory(values), values);
  }
}

// So many pairs that the best place for each would take too long to find.
TEST(MemoryPlan, ThousandsOfValuesThatLiveAtTheSameTimeDoNotOverlapEither) {
  Generator rng(1);
  std::vector<Lifetime> values(1500);
  int64_t all = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = {static_cast<int64_t>(rng.below(1000)), i, 2 * values.size() - i + rng.below(1000)};
    all += values[i].bytes + 64;
  }
  std::vector<Lifetime> later = values;  // the same once more, when the first ones are over
  for (const Lifetime& v : values) later.push_back({v.bytes, v.first + 4000, v.last + 4000});
  const MemoryPlan plan = plan_memory(later);
  expect_sound(plan, later);
  EXPECT_LE(plan.bytes, all);
}

TEST(MemoryPlan, ALongChainTakesTheMemoryOfTwoValuesAndOneThatLivesThroughout) {
  constexpr size_t kSteps = 100000;
  std::vector<Lifetime> values;
  for (size_t i = 0; i < kSteps; ++i) values.push_back({640, i, i + 1});
  values.push_back({128, 0, kSteps});
  EXPECT_EQ(plan_memory(values).bytes, 2 * 640 + 128);
}

TEST(MemoryPlan, AChainTakesTheMemoryOfItsTwoLargestNeighbours) {
  const MemoryPlan plan = plan_memory({{640, 0, 1}, {128, 1, 2}, {1280, 2, 3}, {64, 3, 4}});
  EXPECT_EQ(plan.bytes, 1280 + 128);
}

}  // namespace
}  // namespace thimble::nn
