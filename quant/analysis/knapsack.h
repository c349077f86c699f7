// The choice of one option for each of several items, such that costs add up to little and sizes to not too much: the
// multiple-choice knapsack problem.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <thimble/core/api.h>

namespace thimble::quant {

/// One of those that an item has.
struct THIMBLE_API KnapsackOption {
  int64_t size = 0;
  double cost = 0;  ///< may be negative
};

/// An option for each item, with the sums of their sizes and costs.
struct THIMBLE_API KnapsackChoice {
  int64_t size = 0;
  double cost = 0;
  std::vector<size_t> options;  ///< for each item, the index of the option chosen
};

/// All choices worth making: of every budget the best one, for no other choice has at most their size and less cost, or
/// less size and the same cost. By size; costs fall. Exact (Nemhauser and Ullmann, 1969): item by item, the choices so
/// far are joined with each option, and those that another one beats are dropped; few are left in practice, however
/// large the sizes. Throws ValueError for no items, an item without options, negative sizes or costs that are not
/// finite.
THIMBLE_API std::vector<KnapsackChoice> pareto_choices(const std::vector<std::vector<KnapsackOption>>& items);

}  // namespace thimble::quant
