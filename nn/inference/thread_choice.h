// Whether the calls of a small program are faster on the calling thread alone.
//
// What threads gain is a part of the time of layers of a few microseconds; what they cost, to meet and to fetch values
// from each other's caches, is a matter of the machine, and no less. So the first calls are measured, some of each kind
// in turn, and now and then some more. Answers have the same bits either way.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>

namespace thimble::nn {

/// May be used by several threads at once.
class ThreadChoice {
 public:
  using Clock = std::chrono::steady_clock;
  /// Calls that take longer are worth all threads.
  static constexpr Clock::duration kLong = std::chrono::milliseconds(2);

  /// A call to be made.
  struct Call {
    int64_t number;
    bool alone;
  };

  Call next();
  /// It took so long.
  void note(const Call& call, Clock::duration time);

 private:
  static constexpr int64_t kBlock = 4, kTrial = 4 * kBlock, kPeriod = 512;

  std::atomic<int64_t> calls_{0};
  std::atomic<bool> alone_{false}, is_long_{false};
  std::array<std::atomic<Clock::rep>, 2> least_{std::numeric_limits<Clock::rep>::max(),
                                                std::numeric_limits<Clock::rep>::max()};
};

}  // namespace thimble::nn
