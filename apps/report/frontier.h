// Which of several models nobody has a reason not to take.
#pragma once

#include <optional>
#include <vector>

namespace thimble::apps {

struct Candidate {
  std::optional<double> cost, value;  ///< less and more is better; without one of them it is not compared
};

/// Of each candidate, whether it is on the frontier: no other one costs at most as much and is worth at least as much,
/// and is better in one of both. False for one that is not compared.
std::vector<bool> on_frontier(const std::vector<Candidate>& candidates);

}  // namespace thimble::apps
