#include "apps/report/frontier.h"

#include <algorithm>

namespace thimble::apps {

namespace {

bool is_compared(const Candidate& c) { return c.cost && c.value; }

bool beats(const Candidate& a, const Candidate& b) {
  return is_compared(a) && *a.cost <= *b.cost && *a.value >= *b.value && (*a.cost < *b.cost || *a.value > *b.value);
}

}  // namespace

std::vector<bool> on_frontier(const std::vector<Candidate>& candidates) {
  std::vector<bool> on;
  for (const Candidate& c : candidates)
    on.push_back(is_compared(c) &&
                 std::ranges::none_of(candidates, [&](const Candidate& other) { return beats(other, c); }));
  return on;
}

}  // namespace thimble::apps
