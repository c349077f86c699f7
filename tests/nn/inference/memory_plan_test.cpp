#include <gtest/gtest.h>

#include <thimble/core/random.h>
#include <thimble/nn/inference/memory_plan.h>

namespace thimble::nn {
namespace {

TEST(MemoryPlan, ValuesThatLiveAtTheSameTimeDoNotOverlap) {
  Generator rng(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<Lifetime> values(rng.below(20));
    for (Lifetime& v : values) {
      v.bytes = static_cast<int64_t>(rng.below(1000));
      v.first = rng.below(10);
      v.last = v.first + rng.below(5);
    }
    const MemoryPlan plan = plan_memory(values);
    ASSERT_EQ(plan.offsets.size(), values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(plan.offsets[i] % 64, 0);
      EXPECT_LE(plan.offsets[i] + values[i].bytes, plan.bytes);
      for (size_t j = 0; j < i; ++j) {
        const bool together = values[i].first <= values[j].last && values[j].first <= values[i].last;
        const bool apart = plan.offsets[i] + values[i].bytes <= plan.offsets[j] ||
                           plan.offsets[j] + values[j].bytes <= plan.offsets[i];
        EXPECT_TRUE(!together || apart) << "values " << i << " and " << j;
      }
    }
  }
}

TEST(MemoryPlan, AChainTakesTheMemoryOfItsTwoLargestNeighbours) {
  const MemoryPlan plan = plan_memory({{640, 0, 1}, {128, 1, 2}, {1280, 2, 3}, {64, 3, 4}});
  EXPECT_EQ(plan.bytes, 1280 + 128);
}

}  // namespace
}  // namespace thimble::nn
