#include <algorithm>
#include <numeric>

#include <thimble/nn/inference/memory_plan.h>

namespace thimble::nn {

namespace {

constexpr int64_t kAlignment = 64;

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool overlap(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

MemoryPlan plan_memory(const std::vector<Lifetime>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return values[a].bytes > values[b].bytes; });
  MemoryPlan plan{std::vector<int64_t>(values.size()), 0};
  std::vector<size_t> placed;  // by rising offset
  for (const size_t value : order) {
    int64_t offset = 0;
    for (const size_t other : placed) {
      if (!overlap(values[value], values[other])) continue;
      if (offset + values[value].bytes <= plan.offsets[other]) break;
      offset = std::max(offset, aligned(plan.offsets[other] + values[other].bytes));
    }
    plan.offsets[value] = offset;
    plan.bytes = std::max(plan.bytes, offset + values[value].bytes);
    placed.insert(std::ranges::upper_bound(placed, offset, {}, [&](size_t p) { return plan.offsets[p]; }), value);
  }
  return plan;
}

}  // namespace thimble::nn
