#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <numeric>

#include <thimble/nn/inference/memory_plan.h>

namespace thimble::nn {

namespace {

constexpr int64_t kAlignment = 64;

bool overlap(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

std::vector<size_t> indices(size_t count) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

// Values, found by when they live. In classes of about equal lengths, so that of the values that begin early only those
// are looked at that may live long enough.
class Timeline {
 public:
  explicit Timeline(const std::vector<Lifetime>& values) : values_(values) {}

  void add(size_t value) {
    const Lifetime& v = values_[value];
    by_length_[length_class(v)].emplace(v.first, value);
  }

  std::vector<size_t> overlapping(const Lifetime& wanted) const {
    std::vector<size_t> found;
    for (size_t length = 0; length < by_length_.size(); ++length) {
      const size_t longest = (size_t{2} << length) - 1;
      const auto& values = by_length_[length];
      for (auto it = values.lower_bound(wanted.first - std::min(wanted.first, longest));
           it != values.end() && it->first <= wanted.last; ++it)
        if (overlap(wanted, values_[it->second])) found.push_back(it->second);
    }
    return found;
  }

 private:
  // Class c holds what lives for 2^c to 2^(c+1) - 1 steps.
  static size_t length_class(const Lifetime& v) {
    return static_cast<size_t>(std::bit_width(v.last - v.first + 1)) - 1;
  }

  const std::vector<Lifetime>& values_;
  std::array<std::multimap<size_t, size_t>, 63> by_length_;  // by first step
};

// The largest first, each at the lowest offset that is free for as long as it lives. Empty if that would take more than
// `most_looks` looks at neighbours: where most values live at the same time there is a look for each pair.
MemoryPlan largest_first(const std::vector<Lifetime>& values, size_t most_looks) {
  std::vector<size_t> order = indices(values.size());
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return values[a].bytes > values[b].bytes; });
  MemoryPlan plan{std::vector<int64_t>(values.size()), 0};
  Timeline placed(values);
  size_t looks = 0;
  for (const size_t value : order) {
    std::vector<size_t> others = placed.overlapping(values[value]);
    looks += others.size();
    if (looks > most_looks) return {};
    std::ranges::sort(others, {}, [&](size_t other) { return plan.offsets[other]; });
    int64_t offset = 0;
    for (const size_t other : others) {
      if (offset + values[value].bytes <= plan.offsets[other]) break;
      offset = std::max(offset, aligned(plan.offsets[other] + values[other].bytes));
    }
    plan.offsets[value] = offset;
    plan.bytes = std::max(plan.bytes, offset + values[value].bytes);
    if (values[value].bytes > 0) placed.add(value);
  }
  return plan;
}

// In order of time, each in the smallest block that is large enough and not needed any more, or else in a new one.
MemoryPlan first_come(const std::vector<Lifetime>& values) {
  std::vector<size_t> order = indices(values.size());
  std::ranges::stable_sort(order, {}, [&](size_t value) { return values[value].first; });
  MemoryPlan plan{std::vector<int64_t>(values.size()), 0};
  struct Block {
    int64_t bytes, offset;
  };
  std::multimap<int64_t, int64_t> free;  // bytes and offset of blocks
  std::multimap<size_t, Block> needed;   // by the last step that needs them
  for (const size_t value : order) {
    const int64_t bytes = aligned(values[value].bytes);
    if (bytes == 0) continue;
    while (!needed.empty() && needed.begin()->first < values[value].first) {
      free.emplace(needed.begin()->second.bytes, needed.begin()->second.offset);
      needed.erase(needed.begin());
    }
    Block block{bytes, plan.bytes};
    if (const auto fitting = free.lower_bound(bytes); fitting != free.end()) {
      block = {fitting->first, fitting->second};
      free.erase(fitting);
    } else {
      plan.bytes += bytes;
    }
    plan.offsets[value] = block.offset;
    needed.emplace(values[value].last, block);
  }
  return plan;
}

}  // namespace

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

MemoryPlan plan_memory(const std::vector<Lifetime>& values) {
  constexpr size_t kLooks = 1 << 20, kLooksPerValue = 64;
  MemoryPlan plan = largest_first(values, kLooks + kLooksPerValue * values.size());
  return plan.offsets.size() == values.size() ? plan : first_come(values);
}

}  // namespace thimble::nn
