#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include <thimble/core/error.h>
#include <thimble/quant/analysis/knapsack.h>

namespace thimble::quant {

namespace {

// A choice for the items so far: one for the items before, and an option of the last.
struct Partial {
  int64_t size = 0;
  double cost = 0;
  size_t before = 0, option = 0;
};

// By size, those alone that cost less than all smaller ones.
std::vector<Partial> without_beaten(std::vector<Partial> all) {
  std::ranges::sort(all, {}, [](const Partial& p) { return std::tuple(p.size, p.cost); });
  double least = std::numeric_limits<double>::infinity();
  std::erase_if(all, [&](const Partial& p) {
    if (p.cost >= least) return true;
    least = p.cost;
    return false;
  });
  return all;
}

std::vector<Partial> joined(const std::vector<Partial>& before, const std::vector<KnapsackOption>& options) {
  std::vector<Partial> all;
  all.reserve(before.size() * options.size());
  for (size_t i = 0; i < before.size(); ++i)
    for (size_t o = 0; o < options.size(); ++o)
      all.push_back({before[i].size + options[o].size, before[i].cost + options[o].cost, i, o});
  return without_beaten(std::move(all));
}

void check_items(const std::vector<std::vector<KnapsackOption>>& items) {
  check<ValueError>(!items.empty(), "knapsack: there is nothing to choose");
  for (size_t i = 0; i < items.size(); ++i) {
    check<ValueError>(!items[i].empty(), "knapsack: item ", i, " has no options");
    for (const KnapsackOption& option : items[i])
      check<ValueError>(option.size >= 0 && std::isfinite(option.cost), "knapsack: item ", i, " has an option of size ",
                        option.size, " and cost ", option.cost);
  }
}

}  // namespace

std::vector<KnapsackChoice> pareto_choices(const std::vector<std::vector<KnapsackOption>>& items) {
  check_items(items);
  std::vector<std::vector<Partial>> stages{{Partial{}}};
  for (const auto& options : items) stages.push_back(joined(stages.back(), options));
  std::vector<KnapsackChoice> choices;
  for (const Partial& last : stages.back()) {
    KnapsackChoice choice{last.size, last.cost, std::vector<size_t>(items.size())};
    const Partial* p = &last;
    for (size_t i = items.size(); i-- > 0; p = &stages[i][p->before]) choice.options[i] = p->option;
    choices.push_back(std::move(choice));
  }
  return choices;
}

}  // namespace thimble::quant
