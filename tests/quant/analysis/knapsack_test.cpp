#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include <thimble/core/error.h>
#include <thimble/quant/analysis/knapsack.h>

namespace thimble::quant {
namespace {

using Items = std::vector<std::vector<KnapsackOption>>;

// Small numbers, so that sums are equal now and then, and binary fractions, so that they are exact.
Items random_items(std::mt19937& rng) {
  Items items(1 + rng() % 5);
  for (auto& options : items) {
    options.resize(1 + rng() % 5);
    for (auto& option : options) option = {static_cast<int64_t>(rng() % 30), static_cast<double>(rng() % 64) / 8 - 2};
  }
  return items;
}

// Calls visit(size, cost) for every way to choose.
template <typename F>
void for_all_choices(const Items& items, F&& visit, size_t at = 0, int64_t size = 0, double cost = 0) {
  if (at == items.size()) return visit(size, cost);
  for (const auto& option : items[at]) for_all_choices(items, visit, at + 1, size + option.size, cost + option.cost);
}

TEST(Knapsack, EveryBudgetsBestChoiceIsThere) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 300; ++trial) {
    const Items items = random_items(rng);
    const auto front = pareto_choices(items);
    for (int64_t budget = 0; budget <= 150; ++budget) {
      constexpr double kNone = std::numeric_limits<double>::infinity();
      double expected = kNone, found = kNone;
      for_all_choices(items, [&](int64_t size, double cost) {
        if (size <= budget) expected = std::min(expected, cost);
      });
      for (const KnapsackChoice& choice : front)
        if (choice.size <= budget) found = std::min(found, choice.cost);
      ASSERT_EQ(found, expected) << "budget " << budget << " of trial " << trial;
    }
  }
}

TEST(Knapsack, ChoicesAreWhatTheySayAndNoneIsBeaten) {
  std::mt19937 rng(2);
  for (int trial = 0; trial < 300; ++trial) {
    const Items items = random_items(rng);
    const auto front = pareto_choices(items);
    ASSERT_FALSE(front.empty());
    for (size_t i = 0; i < front.size(); ++i) {
      int64_t size = 0;
      double cost = 0;
      ASSERT_EQ(front[i].options.size(), items.size());
      for (size_t item = 0; item < items.size(); ++item) {
        const KnapsackOption& option = items[item].at(front[i].options[item]);
        size += option.size;
        cost += option.cost;
      }
      EXPECT_EQ(front[i].size, size);
      EXPECT_EQ(front[i].cost, cost);
      if (i == 0) continue;
      EXPECT_GT(front[i].size, front[i - 1].size);
      EXPECT_LT(front[i].cost, front[i - 1].cost);
    }
  }
}

TEST(Knapsack, ManyItemsWithLargeSizesAreNoTrouble) {
  std::mt19937 rng(3);
  Items items(60);
  for (auto& options : items) {
    const auto elements = static_cast<int64_t>(1000 + rng() % 2'000'000);
    const double noise = std::ldexp(1.0, -static_cast<int>(rng() % 12));
    for (int bits = 2; bits <= 8; ++bits) options.push_back({elements * bits / 8, noise * std::ldexp(1.0, -2 * bits)});
  }
  const auto front = pareto_choices(items);
  int64_t least = 0, most = 0;
  for (const auto& options : items) least += options.front().size, most += options.back().size;
  EXPECT_EQ(front.front().size, least);
  EXPECT_EQ(front.back().size, most);
}

TEST(Knapsack, WhatCannotBeChosenFromIsRefused) {
  EXPECT_THROW(pareto_choices({}), ValueError);
  EXPECT_THROW(pareto_choices({{{1, 1}}, {}}), ValueError);
  EXPECT_THROW(pareto_choices({{{-1, 1}}}), ValueError);
  EXPECT_THROW(pareto_choices({{{1, std::nan("")}}}), ValueError);
  EXPECT_THROW(pareto_choices({{{1, std::numeric_limits<double>::infinity()}}}), ValueError);
}

}  // namespace
}  // namespace thimble::quant
